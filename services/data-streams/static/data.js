// The page of data: finds records of an object type by id, or by what a property says.

import { get, path, Problem, reason, rows } from "./api.js";
import { columnsOf } from "./columns.js";
import { field, h, options, table, update } from "./dom.js";
import { live, watch } from "./live.js";
import { ASSOCIATED, count, dateTime, identifier, value } from "./words.js";

/** What is shown of each type, and by what people look for it first. */
export const SHOWN = {
    contacts: ["email", "firstname", "lastname"],
    companies: ["name", "domain"],
    deals: ["dealname", "dealstage", "amount"],
    tickets: ["subject", "hs_pipeline_stage"],
};

/** Two properties that people look for as one. */
const FULL_NAME = "firstname lastname";

/** How many records are shown at most. */
const LIMIT = 50;

/** Shows the page in `root` until `signal`. */
export function data(root, { url, signal, replace, go }) {
    const asked = Object.fromEntries(["connection", "type", "by", "text"].map((it) => [it, url.searchParams.get(it) ?? ""]));
    const connection = h("select", { name: "connection", onchange: () => chooseConnection() });
    const type = h("select", { name: "type", onchange: () => chooseType("id") });
    const by = h("select", { name: "by", onchange: () => chooseProperty() });
    const input = h("input", { name: "text", type: "search", value: asked.text, autocomplete: "off", spellcheck: "false" });
    const note = h("p", { class: "muted", role: "status" });
    const found = h("div", {});
    let going = null;
    let choosing = null;
    // The property that a person has chosen of this type.
    let property = "";

    const chooseProperty = () => {
        property = by.value;
        input.focus();
    };

    const submit = (event) => {
        event.preventDefault();
        const text = input.value.trim();
        if (by.value === "id" && text) return go(recordPath(connection.value, type.value, text));
        replace("/data", { connection: connection.value, type: type.value, by: by.value, text });
        find();
    };

    root.append(
        h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Data")),
        h(
            "form",
            { class: "filters", role: "search", onsubmit: submit },
            field("Connection", connection),
            field("Object type", type),
            field("Find by", by),
            field("Text", input),
            h("button", { class: "primary" }, "Find"),
        ),
        note,
        found,
    );

    const chosen = () => live.connections?.find((it) => it.name === connection.value);

    const chooseConnection = () => {
        const all = chosen()?.streams.map((it) => it.name) ?? [];
        const streams = all.filter((it) => !it.includes(ASSOCIATED));
        update(type, options(streams, asked.type));
        type.value = streams.includes(asked.type) ? asked.type : (streams[0] ?? "");
        chooseType(asked.by);
    };

    const chooseType = async (wanted) => {
        const first = firstChoices(type.value);
        property = wanted;
        choosing?.abort();
        choosing = new AbortController();
        const either = AbortSignal.any([signal, choosing.signal]);
        const show = (others) => {
            update(by, options([...first, ...others.map((it) => [it.name, `${it.label} (${it.name})`])], property));
            by.value = property && [...by.options].some((it) => it.value === property) ? property : first.at(1)?.[0] ?? "id";
        };
        show([]);
        find();
        try {
            const columns = await columnsOf(chosen().destination, type.value, either);
            if (either.aborted) return;
            const own = columns.filter((it) => !it.name.startsWith("_") && !first.some(([name]) => name === it.name));
            const before = by.value;
            show(own);
            // The address can name a property that was no choice before.
            if (by.value !== before) find();
        } catch {
            // Without SQL there is only the id, and the search itself says why.
        }
    };

    const find = async () => {
        if (!type.value) return;
        const text = input.value.trim();
        const shown = SHOWN[type.value] ?? ["hs_object_id"];
        going?.abort();
        going = new AbortController();
        const either = AbortSignal.any([signal, going.signal]);
        try {
            const results =
                text && by.value !== "id"
                    ? await search(chosen().destination, type.value, by.value, text, shown, either)
                    : await firstRecords(connection.value, type.value, shown, either);
            if (either.aborted) return;
            const what = text && by.value !== "id" ? `with “${text}”` : "with the lowest ids";
            note.textContent = results.length === LIMIT ? `The first ${LIMIT} records ${what}.` : `${count(results.length, "record")} ${what}.`;
            note.className = "muted";
            update(found, results.length > 0 && recordTable(connection.value, type.value, shown, results));
        } catch (error) {
            if (either.aborted) return;
            const isEmpty = error instanceof Problem && error.code === "query_refused" && /UNKNOWN_TABLE|UNKNOWN_DATABASE/.test(error.message);
            note.textContent = isEmpty ? `Nothing of ${type.value} is stored yet.` : reason(error);
            note.className = isEmpty ? "muted" : "bad";
            update(found);
        }
    };

    // The choices are made once; later events change nothing here.
    const ready = new AbortController();
    watch(AbortSignal.any([signal, ready.signal]), () => {
        if (!live.connections) return (note.textContent = "Loading …");
        ready.abort();
        const names = live.connections.map((it) => it.name);
        update(connection, options(names, asked.connection));
        connection.value = names.includes(asked.connection) ? asked.connection : (names[0] ?? "");
        if (names.length === 0) note.textContent = "There is no connection yet.";
        else chooseConnection();
    });
}

/** The address of the page of a record. */
export function recordPath(connection, type, id) {
    return ["/data", connection, type, id].map((it, index) => (index ? encodeURIComponent(it) : it)).join("/");
}

function firstChoices(type) {
    const shown = (SHOWN[type] ?? []).filter((it) => !["firstname", "lastname", "dealstage", "amount"].includes(it));
    const names = shown.map((it) => [it, it === "email" ? "E-mail" : it.charAt(0).toUpperCase() + it.slice(1)]);
    return [["id", "Id"], ...names, ...(type === "contacts" ? [[FULL_NAME, "Name"]] : [])];
}

async function firstRecords(connection, type, shown, signal) {
    const url = `${path(connection, "records", type)}?limit=20&properties=${shown.join()}`;
    const { results } = await get(url, signal);
    return results.map((it) => ({ id: it.id, updated: it.updated_at, archived: it.archived, ...it.properties }));
}

async function search(destination, type, by, text, shown, signal) {
    const columns = await columnsOf(destination, type, signal);
    const known = shown.filter((name) => columns.some((it) => it.name === name));
    const wanted = by === FULL_NAME ? by.split(" ") : [by];
    const texts = wanted.map((it) => `ifNull(toString(${identifier(it)}), '')`);
    const searched = texts.length > 1 ? `concatWithSeparator(' ', ${texts.join(", ")})` : texts[0];
    const names = [...new Set([...known, ...(by === FULL_NAME ? [] : wanted)])];
    const query = [
        "SELECT toString(_object_id) AS id, toString(_updated_at) AS updated, _archived AS archived, _deleted AS deleted",
        ...names.map((it) => `, toString(${identifier(it)}) AS ${identifier(it)}`),
        ` FROM ${identifier(destination)}.${identifier(`${type}_all`)}`,
        ` WHERE positionCaseInsensitiveUTF8(${searched}, {text:String}) > 0 ORDER BY _object_id`,
    ].join("");
    const results = await rows(query, { text }, { limit: LIMIT, signal });
    // ClickHouse writes times of UTC without a zone.
    return results.map((it) => ({ ...it, updated: `${it.updated.replace(" ", "T")}Z` }));
}

function recordTable(connection, type, shown, results) {
    const others = Object.keys(results[0]).filter((it) => !["id", "updated", "archived", "deleted", ...shown].includes(it));
    const names = [...shown, ...others];
    const headings = [{ text: "Id" }, ...names.map((text) => ({ text })), { text: "Updated in HubSpot" }, { text: "" }];
    return table(
        `Records of ${type}`,
        headings,
        results.map((it) => ({
            key: it.id,
            cells: [
                h("a", { href: recordPath(connection, type, it.id) }, it.id),
                ...names.map((name) => value(it[name])),
                dateTime(it.updated),
                it.deleted ? "deleted" : it.archived ? "archived" : "",
            ],
        })),
    );
}
