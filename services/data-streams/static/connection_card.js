// A connection on the overview: desired and observed state, its streams, its buttons.

import { confirmDeletions, notes, reconcile, start, stop, sync } from "./actions.js";
import { openCheck } from "./check.js";
import { h } from "./dom.js";
import { rate } from "./live.js";
import { bar, problem, tag } from "./parts.js";
import { openDelete, openSettings } from "./settings_form.js";
import { ago, ASSOCIATED, dateTime, duration, number, PHASES, sentence, verdict } from "./words.js";

/** The card of a connection. `changed` is called once deletions were confirmed. */
export function card(it, now, reconciliations, changed) {
    const id = `connection-${it.name}`;
    return h(
        "section",
        { class: "card connection", "data-key": it.name, "aria-labelledby": id },
        h(
            "div",
            { class: "head" },
            h("h2", { id }, it.name),
            states(it),
            h("div", { class: "actions", role: "group", "aria-label": `Actions of ${it.name}` }, buttons(it)),
        ),
        about(it),
        note(it.name),
        budget(it.observed?.budget),
        it.observed?.error && problem(it.observed.error),
        reconciliations.filter((pass) => pass.waits_for).map((pass) => waiting(it, pass, changed)),
        h("ul", { class: "streams" }, it.streams.map((each) => stream(it, each, now))),
    );
}

function states(it) {
    const observed = it.observed?.state ?? "not taken yet";
    return h(
        "p",
        { class: "states" },
        tag(observed),
        it.state !== observed && h("span", { class: "muted" }, `to be ${it.state}`),
    );
}

function buttons(it) {
    const button = (text, action, more) => h("button", { type: "button", "data-key": text, onclick: action, ...more }, text);
    const hasFailed = it.observed?.state === "failed" || it.observed?.error;
    return [
        (it.state !== "running" || hasFailed) && button("Start", () => start(it.name), { class: "primary" }),
        it.state === "running" && button("Stop", () => stop(it.name)),
        button("Sync now", () => sync(it.name)),
        button("Reconcile", () => reconcile(it.name), { title: "Compare all records with HubSpot" }),
        button("Check", () => openCheck(it.name), { title: "Try what the credential can read" }),
        button("Edit", () => openSettings(it.name)),
        button("Delete", () => openDelete(it.name), { class: "danger" }),
    ];
}

function about(it) {
    const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", {}, value));
    return h(
        "dl",
        { class: "facts" },
        fact("Portal", it.observed?.portal_id),
        fact("Every", it.interval),
        fact("Into", h("code", {}, it.destination)),
        fact("Credential", h("code", {}, it.credential)),
    );
}

function note(name) {
    const it = notes.of(name);
    return it && h("p", { class: `note ${it.kind}`, "data-key": "-note" }, it.text);
}

const BUDGETS = {
    general: "Requests of these 10 s",
    search: "Searches of this second",
    day: "Requests of the day",
};

function budget(it) {
    if (!it) return null;
    const known = Object.entries(BUDGETS).filter(([kind]) => it[kind]);
    return h(
        "ul",
        { class: "budget", "data-key": "-budget" },
        known.map(([kind, label]) => {
            const { used, limit } = it[kind];
            const words = `${number(used)} of ${number(limit)}`;
            return h("li", {}, h("span", {}, `${label}: ${words}`), bar(label, used, limit, words));
        }),
    );
}

function waiting(it, pass, changed) {
    const confirm = async () => {
        await confirmDeletions(it.name, pass.id);
        changed();
    };
    return h(
        "div",
        { class: "problem", "data-key": `-waits ${pass.id}` },
        h("p", {}, h("strong", {}, `Deletions of ${pass.stream} wait to be confirmed. `), sentence(pass.waits_for)),
        h("button", { type: "button", class: "danger", onclick: confirm }, `Confirm the deletions of ${pass.stream}`),
    );
}

function stream(connection, it, now) {
    const small = (text, action) =>
        h("button", { type: "button", class: "small", onclick: action, "aria-label": `${text} ${it.name}` }, text);
    return h(
        "li",
        { class: "stream", "data-key": it.name },
        h(
            "div",
            { class: "head" },
            h("h3", {}, h("a", { href: dataOf(connection.name, it.name) }, it.name)),
            h("span", { class: `tag ${it.phase}`, title: PHASES[it.phase] }, it.phase),
            h("span", { class: "muted" }, it.reason && it.reason !== it.phase && !it.outcome ? it.reason : ""),
            h(
                "div",
                { class: "actions" },
                small("Sync", () => sync(connection.name, it.name)),
                small("Reconcile", () => reconcile(connection.name, it.name)),
            ),
        ),
        progress(connection, it),
        facts(it, now),
        it.error && problem(it.error),
        it.not_loaded && h("p", { class: "problem" }, `Not loaded into ClickHouse: ${sentence(it.not_loaded)}`),
        limitations(it),
    );
}

/** Where the records of a stream are; associations are shown with the objects they begin at. */
function dataOf(connection, name) {
    return `/data?connection=${connection}&type=${encodeURIComponent(name.split(ASSOCIATED)[0])}`;
}

/** How far the first read is, how fast it is, and when it will be done. */
function progress(connection, it) {
    const isFirst = it.phase === "backfill" || !it.last_success;
    if (!isFirst || !it.expected_total) {
        const runs = ["backfill", "incremental"].includes(it.phase);
        const of = it.expected_total ? ` · about ${number(it.expected_total)} in HubSpot` : "";
        const text = runs
            ? `${number(it.records_in_run)} records in this run${pace(connection, it)}`
            : `${number(it.records_total)} records written in all${of}`;
        return h("p", { class: "progress" }, text);
    }
    // Objects that are read twice count twice.
    const done = Math.min(it.records_total, it.expected_total);
    const words = `${number(done)} of about ${number(it.expected_total)}`;
    const left = it.expected_total - done;
    return h(
        "div",
        { class: "progress" },
        bar(`Progress of ${it.name}`, done, it.expected_total, words),
        h("p", {}, `${words}${it.phase === "backfill" ? pace(connection, it, left) : ""}`),
    );
}

function pace(connection, it, left) {
    const speed = rate(connection.name, it);
    if (!speed) return "";
    const words = ` · ${number(Math.round(speed))} a second`;
    return left ? `${words} · ${duration((left / speed) * 1000)} left` : words;
}

function facts(it, now) {
    const fact = (name, text, exact, kind) =>
        text && h("div", { "data-key": name }, h("dt", {}, name), h("dd", { title: exact, class: kind }, text));
    const fresh = it.cursor ?? it.last_success;
    const differs = it.verdict?.still_different > 0;
    const next = it.pending_request ? "asked for, takes its turn" : it.next_run && ago(it.next_run, now);
    return h(
        "dl",
        { class: "facts" },
        fact("Up to date as of", fresh && ago(fresh, now), dateTime(fresh)),
        fact("Last success", it.last_success && ago(it.last_success, now), dateTime(it.last_success)),
        fact("Next run", it.phase === "stopped" ? null : next, dateTime(it.next_run)),
        fact(
            "Last verdict",
            it.verdict ? verdict(it.verdict, now) : "not compared yet",
            it.verdict ? `Compared ${dateTime(it.verdict.at)}` : null,
            it.verdict ? (differs ? "bad" : "good") : "muted",
        ),
    );
}

function limitations(it) {
    if (!it.limitations?.length) return null;
    return h(
        "details",
        { class: "limitations" },
        h("summary", {}, `What HubSpot does not offer for ${it.name} (${it.limitations.length})`),
        h(
            "ul",
            {},
            it.limitations.map((each) =>
                h(
                    "li",
                    {},
                    h("strong", {}, each.capability.replaceAll("_", " ")),
                    `: ${sentence(each.advice)} ${sentence(each.message)} Tried again ${ago(each.retry_at)}.`,
                ),
            ),
        ),
    );
}
