// Tries a credential, and shows what it can read of each object type.

import { call, path, reason } from "./api.js";
import { h, openDialog, table } from "./dom.js";
import { problem } from "./parts.js";
import { count, sentence } from "./words.js";

/** What is tried of each type, in the order of the columns. */
const CAPABILITIES = {
    properties: "Properties",
    list: "List",
    archived_list: "Archived list",
    search: "Search",
    batch_read: "Read by ids",
};

/** How long to wait before it is asked again whether the worker has answered. */
const PAUSE = 2_000;

/** Checks a connection's credential; `waits` is called if that takes long. */
export async function check(name, signal, waits) {
    for (;;) {
        const { status, body } = await call("POST", path(name, "check"), { signal });
        if (status === 200) return body;
        waits();
        const found = await result(body.status, signal);
        if (found) return found;
    }
}

/** The result of a check that goes on; nothing if another command has replaced it. */
async function result(address, signal) {
    for (;;) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        signal.throwIfAborted();
        const { body } = await call("GET", address, { signal });
        if (body.check || body.progress === "superseded") return body.check;
    }
}

/** What a check has found, as part of a page. */
export function checked(body) {
    if (body.error) return [h("p", { class: "bad" }, "The account cannot be read."), problem(body.error)];
    const refused = body.streams.flatMap((stream) =>
        stream.capabilities.filter((it) => !it.works).map((it) => ({ stream: stream.name, ...it })),
    );
    return [
        h("p", { class: "good" }, "The credential works", body.portal_id && ` and leads to portal ${body.portal_id}`, "."),
        table(
            "What the credential can read",
            [{ text: "Object type" }, { text: "Can be synced" }, ...Object.values(CAPABILITIES).map((text) => ({ text }))],
            body.streams.map((stream) => ({ key: stream.name, cells: cells(stream) })),
        ),
        refused.length > 0 && h("h3", {}, "What is refused, and what it costs"),
        refused.length > 0 &&
            h(
                "ul",
                { class: "plain" },
                grouped(refused).map((it) =>
                    h(
                        "li",
                        {},
                        h("strong", {}, `${it.stream}, ${it.names.join(", ")}: `),
                        `${sentence(it.error.message)} ${sentence(it.error.advice)} `,
                        h("code", {}, it.error.code),
                    ),
                ),
            ),
        scopes(body.scopes),
    ];
}

function scopes(names) {
    if (!names) return h("p", { class: "muted" }, "HubSpot does not say which scopes the credential has.");
    const listed = names.flatMap((name) => [" ", h("code", {}, name)]);
    return h("details", { open: true }, h("summary", {}, `It has ${count(names.length, "scope")}`), h("p", {}, ...listed));
}

function cells(stream) {
    const works = Object.keys(CAPABILITIES).map((name) => {
        const it = stream.capabilities.find((each) => each.capability === name);
        return it ? yesOrNo(it.works) : "not tried";
    });
    return [h("strong", {}, stream.name), yesOrNo(stream.can_sync), ...works];
}

const yesOrNo = (is) => h("span", { class: is ? "good" : "bad" }, is ? "✓ yes" : "✗ no");

/** One line for all capabilities of a type that are refused for the same reason. */
function grouped(refused) {
    const groups = new Map();
    for (const it of refused) {
        const key = `${it.stream} ${it.error.code} ${it.error.advice}`;
        const group = groups.get(key) ?? { stream: it.stream, error: it.error, names: [] };
        group.names.push(CAPABILITIES[it.capability]?.toLowerCase() ?? it.capability);
        groups.set(key, group);
    }
    return [...groups.values()];
}

/** Checks a connection in a dialog. */
export async function openCheck(name) {
    const ended = new AbortController();
    const shown = h("div", { role: "status" }, h("p", {}, "The worker asks HubSpot …"));
    const dialog = openDialog(
        `What ${name} can read`,
        shown,
        h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
    );
    dialog.classList.add("wide");
    dialog.addEventListener("close", () => ended.abort());
    try {
        const body = await check(name, ended.signal, () =>
            shown.replaceChildren(h("p", {}, "The worker has not answered yet; waiting on …")),
        );
        shown.replaceChildren(...checked(body).filter(Boolean));
    } catch (error) {
        if (!ended.signal.aborted) shown.replaceChildren(h("p", { class: "bad" }, reason(error)));
    }
}
