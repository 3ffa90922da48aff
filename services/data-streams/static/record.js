// The page of one record: its properties with their labels, and its history.

import { get, path, Problem, reason } from "./api.js";
import { associations } from "./associations.js";
import { columnsOf } from "./columns.js";
import { field, h, table, update } from "./dom.js";
import { connection, until } from "./live.js";
import { ago, count, dateTime, nameOf, REASONS, value } from "./words.js";

/** Versions of a page of the history. */
const PAGE = 20;

/** Shows the page in `root` until `signal`. */
export function record(root, { params, signal }) {
    const [name, type, id] = params;
    const title = h("h1", { tabindex: "-1" }, id);
    const head = h("div", {}, h("p", { class: "muted", role: "status" }, "Loading …"));
    const filter = h("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => showProperties() });
    const properties = h("div", {});
    const history = h("ol", { class: "history" });
    const older = h("div", { class: "actions" });
    let labels = new Map();
    let it = null;

    const list = `/data?connection=${encodeURIComponent(name)}&type=${encodeURIComponent(type)}`;
    root.append(
        h(
            "nav",
            { class: "trail", "aria-label": "Path" },
            h("a", { href: "/data" }, "Data"),
            " / ",
            name,
            " / ",
            h("a", { href: list }, type),
        ),
        h("div", { class: "title" }, title),
        head,
    );

    const showProperties = () => {
        const wanted = filter.value.toLowerCase();
        const all = Object.entries(it.properties)
            .map(([property, content]) => ({ property, label: labels.get(property)?.label ?? property, content: value(content) }))
            .filter((each) => `${each.property} ${each.label} ${each.content}`.toLowerCase().includes(wanted))
            .sort((a, b) => a.label.localeCompare(b.label));
        if (all.length === 0) return update(properties, h("p", { class: "muted" }, wanted ? "No property has this text." : "No property is set."));
        update(
            properties,
            table(
                "Properties",
                [{ text: "Label" }, { text: "Value" }, { text: "Property" }],
                all.map((each) => ({
                    key: each.property,
                    cells: [
                        h("span", { title: labels.get(each.property)?.description || null }, each.label),
                        h("span", { class: "value" }, each.content),
                        h("code", {}, each.property),
                    ],
                })),
            ),
        );
    };

    const showHistory = async (after) => {
        const query = `?limit=${PAGE}${after ? `&after=${after}` : ""}`;
        older.replaceChildren(h("p", { class: "muted" }, "Loading …"));
        try {
            const page = await get(path(name, "records", type, id, "history") + query, signal);
            const next = page.paging?.next.after;
            history.append(...page.results.map((each, index) => version(each, labels, !next && index === page.results.length - 1)));
            older.replaceChildren();
            if (next) older.append(h("button", { type: "button", onclick: () => showHistory(next) }, "Older versions"));
        } catch (error) {
            if (!signal.aborted) older.replaceChildren(h("p", { class: "bad" }, reason(error)));
        }
    };

    const load = async () => {
        try {
            it = await get(path(name, "records", type, id), signal);
        } catch (error) {
            if (signal.aborted) return;
            const isMissing = error instanceof Problem && error.status === 404;
            const text = isMissing ? `No record ${id} of ${type} is stored for ${name}.` : reason(error);
            return head.replaceChildren(h("p", { class: "bad", role: "alert" }, text));
        }
        title.textContent = nameOf(it);
        document.title = `${title.textContent} · HubSpot streams`;
        head.replaceChildren(facts(it));
        root.append(
            associations({ name, type, id, signal }),
            h(
                "div",
                { class: "columns" },
                h("section", { "aria-labelledby": "properties-title" }, h("h2", { id: "properties-title" }, "Properties"), field("Only those with", filter), properties),
                h("section", { "aria-labelledby": "history-title" }, h("h2", { id: "history-title" }, "History"), history, older),
            ),
        );
        showProperties();
        labels = await readLabels(name, type, signal);
        if (signal.aborted) return;
        showProperties();
        showHistory();
    };
    load();
}

/** Labels by property; empty where SQL is not set up. */
async function readLabels(name, type, signal) {
    try {
        await until((connections) => connections, signal);
        const columns = await columnsOf(connection(name).destination, type, signal);
        return new Map(columns.map((it) => [it.name, it]));
    } catch {
        return new Map();
    }
}

function facts(it) {
    const fact = (name, content) => h("div", {}, h("dt", {}, name), h("dd", {}, content));
    const state = it.deleted ? "deleted in HubSpot" : it.archived ? "archived: in HubSpot's recycle bin" : "live";
    return h(
        "dl",
        { class: "facts" },
        fact("Id", h("code", {}, it.id)),
        fact("State", state),
        fact("Created in HubSpot", dateTime(it.created_at)),
        fact("Updated in HubSpot", `${dateTime(it.updated_at)}, ${ago(it.updated_at)}`),
    );
}

function version(it, labels, isFirst) {
    const changes = Object.entries(it.changed);
    const label = (property) => labels.get(property)?.label ?? property;
    const rows = changes.map(([property, change]) => ({
        key: property,
        cells: [h("span", { title: property }, label(property)), value(change.from), value(change.to)],
    }));
    const list = rows.length > 0 && table(
        `What changed at ${dateTime(it.updated_at)}`,
        [{ text: "Property" }, { text: "Before" }, { text: "After" }],
        rows,
    );
    return h(
        "li",
        { class: "version" },
        h("h3", {}, h("time", { datetime: it.updated_at }, dateTime(it.updated_at)), h("span", { class: "muted" }, ` ${ago(it.updated_at)}`)),
        h("p", {}, summary(it, changes, isFirst)),
        isFirst && list ? h("details", {}, h("summary", {}, "All of them"), list) : list,
        origin(it),
    );
}

function summary(it, changes, isFirst) {
    if (it.merged_into) return `Merged into ${it.merged_into}.`;
    if (it.deleted) return "Deleted.";
    const archived = it.archived ? " In HubSpot's recycle bin." : "";
    if (isFirst) return `First version: ${count(changes.length, "property", "properties")} set.${archived}`;
    if (changes.length === 0) return `No property changed.${archived}`;
    return `${count(changes.length, "property", "properties")} changed.${archived}`;
}

function origin(it) {
    const fact = (name, content) => h("div", {}, h("dt", {}, name), h("dd", {}, content));
    return h(
        "dl",
        { class: "facts origin" },
        fact("Fetched", dateTime(it.synced_at)),
        fact("Reason", `${it.reason}${REASONS[it.reason] ? ` (${REASONS[it.reason]})` : ""}`),
        fact("Run", h("code", { title: it.run_id }, it.run_id)),
        fact("Topic", h("code", {}, it.topic)),
        fact("Partition", String(it.partition)),
        fact("Offset", String(it.offset)),
    );
}
