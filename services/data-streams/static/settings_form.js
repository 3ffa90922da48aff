// The settings of a connection as a form; changes them, and deletes a connection.

import { saved } from "./actions.js";
import { call, path, Problem, reason } from "./api.js";
import { field, h, openDialog } from "./dom.js";
import { live } from "./live.js";
import { fromLines, toLines } from "./selections.js";

/** HubSpot's own object types that most accounts have. */
const TYPES = [
    "contacts",
    "companies",
    "deals",
    "tickets",
    "products",
    "line_items",
    "quotes",
    "calls",
    "emails",
    "meetings",
    "notes",
    "tasks",
];

/** The passes beside the interval, with what each is for. */
const PASSES = {
    late: ["Late changes", "Reads again what search may have shown late"],
    archived: ["Archived objects", "Reads the list of archived objects"],
    full: ["Everything", "Compares all objects with HubSpot"],
};

/** How often these passes are made where nobody has said otherwise. */
const EVERY = { late: "1h", archived: "1h", full: "24h" };

/** The fields of the settings, which `read` gives as a body of the API. */
export function settingsFields(settings) {
    const interval = h("input", { name: "interval", value: settings.interval, required: true, size: "8", autocomplete: "off" });
    const boxes = TYPES.map((name) =>
        h("input", { type: "checkbox", name: "streams", value: name, id: `stream-${name}`, checked: settings.streams.includes(name) }),
    );
    const others = h("input", {
        name: "others",
        value: settings.streams.filter((it) => !TYPES.includes(it)).join(", "),
        autocomplete: "off",
        spellcheck: "false",
    });
    const passes = Object.fromEntries(
        Object.keys(PASSES).map((name) => [
            name,
            h("input", { name: `reconcile.${name}`, value: (settings.reconcile ?? EVERY)[name], size: "8", autocomplete: "off" }),
        ]),
    );
    const properties = h("textarea", { name: "properties", rows: "3", spellcheck: "false", value: toLines(settings.properties) });
    const fields = h(
        "div",
        {},
        h(
            "fieldset",
            {},
            h("legend", {}, "Object types"),
            h(
                "div",
                { class: "choices" },
                boxes.map((box) => h("label", { for: box.id }, box, ` ${box.value}`)),
            ),
            field("Others", others, "Separated by commas, such as 2-9876543 or p1234_cars; for associations two types, such as contacts>companies."),
        ),
        field("Interval", interval, "From the start of one run to the start of the next: 10s to 31d, such as 5m or 1h."),
        h(
            "details",
            {},
            h("summary", {}, "Passes and properties"),
            Object.entries(PASSES).map(([name, [label, purpose]]) =>
                field(label, passes[name], `${purpose}: every 10s to 31d, or off; ${EVERY[name]} by default.`),
            ),
            field(
                "Properties",
                properties,
                "A line for each object type of which not all are read: contacts: without name, name. Or contacts: only name, name. What is left out is never requested; a change takes it out of the tables with the next full pass.",
            ),
        ),
    );
    const read = () => ({
        interval: interval.value.trim(),
        reconcile: Object.fromEntries(Object.entries(passes).map(([name, it]) => [name, it.value.trim()])),
        properties: fromLines(properties.value),
        streams: [
            ...boxes.filter((it) => it.checked).map((it) => it.value),
            ...others.value.split(",").map((it) => it.trim()).filter(Boolean),
        ],
    });
    return { fields, read };
}

/** What is wrong with a form, as the API says it, field by field. */
export function refusal(error) {
    const all = error instanceof Problem && error.fields.length > 0 ? error.fields : null;
    if (!all) return h("p", { class: "bad" }, reason(error));
    return h("ul", { class: "bad plain" }, all.map((it) => h("li", {}, h("code", {}, it.field), `: ${it.detail}`)));
}

/** Opens the settings of a connection. They are changed only if nobody else has. */
export function openSettings(name) {
    const status = h("div", { role: "alert" });
    const place = h("div", {});
    let etag = "";
    let read = null;
    const show = (connection) => {
        etag = connection.etag;
        const streams = connection.streams.map((it) => it.name);
        const form = settingsFields({ ...connection, streams });
        read = form.read;
        place.replaceChildren(form.fields);
    };
    const reload = async () => {
        show((await call("GET", path(name))).body);
        status.replaceChildren();
    };
    const save = async (event) => {
        event.preventDefault();
        try {
            const { body } = await call("PATCH", path(name), { body: read(), headers: { "if-match": etag } });
            dialog.close();
            saved(name, body.command_id);
        } catch (error) {
            status.replaceChildren(error.status === 412 ? changedMeanwhile(reload) : refusal(error));
        }
    };
    const form = h(
        "form",
        { class: "form", novalidate: true, onsubmit: save },
        place,
        status,
        h(
            "div",
            { class: "actions" },
            h("button", { class: "primary" }, "Save"),
            h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        ),
    );
    show(live.connections.find((it) => it.name === name));
    const dialog = openDialog(`Settings of ${name}`, form);
}

function changedMeanwhile(reload) {
    return h(
        "div",
        { class: "bad" },
        h("p", {}, "Somebody has changed this connection since you opened the form, so nothing was saved."),
        h("button", { type: "button", onclick: reload }, "Show the settings as they are now"),
    );
}

/** Asks whether a connection is to be deleted, and its data as well. */
export function openDelete(name) {
    const { destination } = live.connections.find((it) => it.name === name);
    const status = h("div", { role: "alert" });
    const purge = h("input", { type: "checkbox", id: "purge", "aria-describedby": "purge-hint" });
    const typed = h("input", { name: "typed", autocomplete: "off", spellcheck: "false" });
    const button = h("button", { class: "danger" }, "Delete");
    const confirm = field(`Type ${name} to confirm that its data are dropped`, typed);
    confirm.hidden = true;
    purge.onchange = () => {
        confirm.hidden = !purge.checked;
        button.textContent = purge.checked ? "Delete, and drop its data" : "Delete";
    };
    const submit = async (event) => {
        event.preventDefault();
        if (purge.checked && typed.value !== name) {
            return status.replaceChildren(h("p", { class: "bad" }, `Type the name ${name}, or leave its data where they are.`));
        }
        button.disabled = true;
        status.replaceChildren(h("p", {}, "Waiting for the worker to stop it …"));
        try {
            const url = `${path(name)}${purge.checked ? "?purge=true" : ""}`;
            const answer = await call("DELETE", url);
            if (answer.status === 200) return dialog.close();
            const rest = purge.checked ? " Nothing is dropped yet: delete it again in a moment." : "";
            status.replaceChildren(h("p", {}, `The worker has not confirmed it yet; the deletion is accepted.${rest}`));
        } catch (error) {
            status.replaceChildren(h("p", { class: "bad" }, reason(error)));
        }
        button.disabled = false;
    };
    const form = h(
        "form",
        { class: "form", onsubmit: submit },
        h("p", {}, "It is stopped and forgotten: its settings, and how far each stream has come. A new connection reads everything again."),
        h("label", { for: "purge" }, purge, " Drop its data too"),
        h(
            "p",
            { class: "hint", id: "purge-hint" },
            "Without this, the tables in the ClickHouse database ",
            h("code", {}, destination),
            " stay and can be queried. With it they are dropped, and no way leads back but to read everything from HubSpot again. Records in Kafka stay either way.",
        ),
        confirm,
        status,
        h("div", { class: "actions" }, button, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel")),
    );
    const dialog = openDialog(`Delete ${name}?`, form);
}
