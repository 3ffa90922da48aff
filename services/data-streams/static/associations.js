// What a record is associated with, by object type, with links to the other records.

import { get, path, Problem, reason } from "./api.js";
import { recordPath, SHOWN } from "./data.js";
import { h } from "./dom.js";
import { connection, until } from "./live.js";
import { ASSOCIATED, nameOf, number } from "./words.js";

/** How many records of a type are shown at most. */
const LIMIT = 50;

/** The part of a record's page with what it is associated with. */
export function associations({ name, type, id, signal }) {
    const found = h("div", {}, h("p", { class: "muted" }, "Loading …"));
    load(found, { name, type, id, signal }).catch((error) => {
        if (!signal.aborted) found.replaceChildren(h("p", { class: "bad" }, reason(error)));
    });
    return h("section", { "aria-labelledby": "associations-title" }, h("h2", { id: "associations-title" }, "Associations"), found);
}

async function load(found, { name, type, id, signal }) {
    await until((connections) => connections, signal);
    const streams = connection(name).streams.map((it) => it.name);
    const types = streams.filter((it) => it.startsWith(type + ASSOCIATED)).map((it) => it.slice(type.length + 1));
    if (types.length === 0) {
        const example = `${type}${ASSOCIATED}${type === "companies" ? "contacts" : "companies"}`;
        const hint = h("p", { class: "muted" }, "None are synced. Add a stream such as ", h("code", {}, example), " to the connection.");
        return found.replaceChildren(hint);
    }
    const parts = types.map((to) => ofType({ name, type, id, to, hasRecords: streams.includes(to), signal }));
    found.replaceChildren(...(await Promise.all(parts)).flat());
}

/** A heading and a list for one type. */
async function ofType({ name, type, id, to, hasRecords, signal }) {
    const all = await read(path(name, "records", type, id, "associations", to), signal);
    const byId = new Map();
    for (const it of all) byId.set(it.id, [...(byId.get(it.id) ?? []), it.label].filter(Boolean));
    const shown = [...byId].slice(0, LIMIT);
    const names = hasRecords && shown.length > 0 ? await readNames(name, to, shown.map(([other]) => other), signal) : new Map();
    const item = ([other, labels]) =>
        h(
            "li",
            {},
            hasRecords ? h("a", { href: recordPath(name, to, other) }, names.get(other) ?? other) : h("code", {}, other),
            ...labels.flatMap((label) => [" ", h("span", { class: "tag" }, label)]),
        );
    return [
        h("h3", {}, `${to} (${number(byId.size)})`),
        shown.length > 0 ? h("ul", { class: "plain" }, shown.map(item)) : h("p", { class: "muted" }, "None."),
        byId.size > LIMIT && h("p", { class: "muted" }, `The first ${LIMIT} of ${number(byId.size)}.`),
    ].filter(Boolean);
}

/** The associations; none where the record is not stored in that stream. */
async function read(url, signal) {
    try {
        return (await get(url, signal)).results;
    } catch (error) {
        if (error instanceof Problem && error.code === "record_not_found") return [];
        throw error;
    }
}

/** Names of records by id. */
async function readNames(name, type, ids, signal) {
    const properties = (SHOWN[type] ?? ["hs_object_id"]).join();
    const url = `${path(name, "records", type)}?archived=any&limit=${ids.length}&ids=${ids.join()}&properties=${properties}`;
    const { results } = await get(url, signal);
    return new Map(results.map((it) => [it.id, nameOf(it)]));
}
