"use strict";
const main = document.getElementById("connections"), note = document.getElementById("note");
function element(tag, options, ...children) {
  const made = Object.assign(document.createElement(tag), options || {});
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}
const number = value => value === null || value === undefined ? "" : value.toLocaleString("en");
const time = value => value ? new Date(value).toLocaleTimeString() : "";
const tag = state => element("span", { className: "tag " + state, textContent: state });
async function call(name, action) {
  note.textContent = action + " " + name + " …";
  const answer = await fetch(`/v1/connections/${encodeURIComponent(name)}/${action}`, { method: "POST" });
  const body = await answer.json().catch(() => ({}));
  note.textContent = answer.ok ? `${action} ${name}: accepted` : `${action} ${name}: ${body.detail || answer.status}`;
  refresh();
}
function problem(error) {
  return error ? element("div", { className: "error" }, `${error.code}: ${error.message} `,
    element("span", { className: "muted", textContent: error.advice })) : null;
}
function verdict(it) {
  if (!it) return element("span", {});
  const found = it.still_different ? `${number(it.still_different)} or more differ` : "equal to HubSpot";
  return element("span", { className: it.still_different ? "error" : "idle",
    title: `compared ${new Date(it.at).toLocaleString()}` },
    `${number(it.in_warehouse)} of ${number(it.in_hubspot)}, ${found}`);
}
function streamRow(stream) {
  const share = stream.expected_total ? ` of about ${number(stream.expected_total)}` : "";
  return element("tr", {},
    element("td", {}, stream.name, problem(stream.error)),
    element("td", {}, tag(stream.phase), stream.reason ? " " + stream.reason : ""),
    element("td", { className: "number", textContent: number(stream.records_in_run) }),
    element("td", { className: "number", textContent: number(stream.records_total) + share }),
    element("td", { textContent: time(stream.cursor) }),
    element("td", { textContent: time(stream.last_success) }),
    element("td", { textContent: time(stream.next_run) }),
    element("td", {}, verdict(stream.verdict)));
}
function card(connection) {
  const buttons = ["start", "stop", "sync", "reconcile"].map(action =>
    element("button", { textContent: action, onclick: () => call(connection.name, action) }));
  const observed = connection.observed;
  const headings = ["Stream", "Phase", "Records in this run", "Records in total", "Cursor", "Last success", "Next run", "Last verdict"];
  return element("section", {},
    element("div", { className: "head" },
      element("h2", { textContent: connection.name }),
      tag(observed ? observed.state : connection.state),
      element("span", { className: "muted", textContent:
        `desired: ${connection.state} · every ${connection.interval} · into ${connection.destination}` +
        (observed && observed.portal_id ? ` · portal ${observed.portal_id}` : "") }),
      element("span", { className: "spacer" }), ...buttons),
    problem(observed && observed.error),
    element("table", {},
      element("thead", {}, element("tr", {}, ...headings.map((text, index) =>
        element("th", { textContent: text, className: index === 2 || index === 3 ? "number" : "" })))),
      element("tbody", {}, ...connection.streams.map(streamRow))));
}
let timer = null;
async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/v1/connections");
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail || answer.status);
    const cards = body.connections.map(card);
    main.replaceChildren(...(cards.length ? cards : [element("p", { textContent:
      "There is no connection. Create one: POST /v1/connections/default/start" })]));
    if (note.dataset.failed) { note.textContent = ""; delete note.dataset.failed; }
  } catch (error) {
    note.textContent = "data-streams does not answer: " + error.message;
    note.dataset.failed = "yes";
  }
  timer = setTimeout(refresh, 2000);
}
refresh();
