// The page of SQL: a box for questions, what there is to ask, and the answer as a table,
// a chart and a file.

import { call, Problem, reason, send } from "./api.js";
import { barChart } from "./chart.js";
import { tablesOf } from "./columns.js";
import { field, h, options, table, update } from "./dom.js";
import { live, until } from "./live.js";
import { examples } from "./sql_examples.js";
import { programs } from "./sql_programs.js";
import { count, duration, number, tableName, value } from "./words.js";

/** Bars of a chart at most. */
const BARS = 24;

/** How often it is looked whether there is a table, while there is none. */
const LOOK_AGAIN = 5_000;

/** Rows of a file at most. */
const FILE_LIMIT = 1_000_000;

/** Shows the page in `root` until `signal`. */
export function sql(root, { url, signal, replace }) {
    const box = h("textarea", { name: "query", rows: "8", placeholder: "SELECT …", spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
    box.value = url.searchParams.get("query") ?? "";
    box.onkeydown = (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
    };
    const limit = h("select", { name: "limit" }, options([["100", "100"], ["1000", "1,000"], ["10000", "10,000"]], "1000"));
    const status = h("div", { role: "status" });
    const result = h("div", {});
    const questions = h("div", { class: "questions" });
    const tables = h("div", {}, h("p", { class: "muted" }, "Loading …"));
    const runButton = h("button", { class: "primary" }, "Run");
    let going = null;
    let again = null;

    const run = async (event) => {
        event?.preventDefault();
        const query = box.value.trim();
        if (!query) return;
        replace("/sql", { query });
        going?.abort();
        going = new AbortController();
        const either = AbortSignal.any([signal, going.signal]);
        status.replaceChildren(h("p", { class: "muted" }, "ClickHouse is asked …"));
        try {
            const body = { query, limit: Number(limit.value) };
            const answer = (await call("POST", "/v1/sql", { body, signal: either })).body;
            showAnswer(answer);
        } catch (error) {
            if (either.aborted) return;
            result.replaceChildren();
            status.replaceChildren(refusal(error));
        }
    };

    const showAnswer = (answer) => {
        const words = `${count(answer.rows.length, "row")} in ${duration(answer.elapsed_ms)}.`;
        const cut = answer.is_cut && `There are more: these are the first ${number(answer.rows.length)}. A file can have up to ${number(FILE_LIMIT)}.`;
        status.replaceChildren(h("p", {}, words, cut && h("strong", {}, ` ${cut}`)));
        const headings = answer.columns.map((it) => ({ text: it.name, number: isNumber(it.type) }));
        const rows = answer.rows.map((row) => ({ cells: row.map((it) => (it === null ? h("span", { class: "muted" }, "NULL") : value(it))) }));
        const chart = chartOf(answer);
        result.replaceChildren(...[chart, rows.length > 0 && table("Answer", headings, rows)].filter(Boolean));
    };

    const download = async () => {
        status.replaceChildren(h("p", { class: "muted" }, "The file is being made …"));
        try {
            const body = { query: box.value.trim(), limit: FILE_LIMIT };
            const answer = await send("POST", "/v1/sql", { body, headers: { accept: "text/csv" }, signal });
            if (!answer.ok) throw new Problem(answer.status, await answer.json());
            save(await answer.blob(), "answer.csv");
            status.replaceChildren(h("p", {}, "The file is saved as answer.csv."));
        } catch (error) {
            if (!signal.aborted) status.replaceChildren(refusal(error));
        }
    };

    root.append(
        h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "SQL")),
        h(
            "div",
            { class: "columns wide-left" },
            h(
                "div",
                {},
                h(
                    "form",
                    { class: "form", onsubmit: run },
                    field("Question", box, "Ctrl+Enter runs it. Only reading is possible."),
                    h(
                        "div",
                        { class: "actions" },
                        runButton,
                        h("button", { type: "button", onclick: download }, "Download CSV"),
                        field("Rows at most", limit),
                    ),
                ),
                status,
                result,
                limits(),
                programs(),
            ),
            h(
                "aside",
                { "aria-label": "What there is to ask" },
                h("h2", {}, "Examples"),
                questions,
                h("h2", {}, "Tables"),
                tables,
            ),
        ),
    );

    const ask = (query) => {
        box.value = query;
        run();
    };

    const readTables = async () => {
        await until((connections) => connections, signal);
        const connections = live.connections;
        let hasTables = false;
        try {
            const all = await tablesOf(connections.map((it) => it.destination), signal);
            hasTables = all.length > 0;
            update(tables, hasTables ? all.map((it) => tableDetails(it, box)) : h("p", { class: "muted" }, "There is no table yet."));
            const found = connections.flatMap((it) => examples(it.destination, all, connections.length > 1 ? ` (${it.name})` : ""));
            const button = (it) => h("button", { type: "button", onclick: () => ask(it.query) }, it.title);
            update(questions, found.length ? found.map(button) : h("p", { class: "muted" }, "They come with the first tables."));
        } catch (error) {
            if (signal.aborted) return;
            update(tables, refusal(error));
            update(questions, h("p", { class: "muted" }, "They come with the tables."));
            // Where SQL is not set up, no later try helps.
            hasTables = error.code === "sql_disabled";
        }
        if (!hasTables && !signal.aborted) again = setTimeout(readTables, LOOK_AGAIN);
    };
    signal.addEventListener("abort", () => clearTimeout(again));
    readTables();
    if (box.value) run();
}

function refusal(error) {
    const text = error instanceof Problem && error.code === "query_refused" ? error.message : reason(error);
    return h("p", { class: "bad refused", role: "alert" }, text);
}

const isNumber = (type) => /^(?:Nullable\(|LowCardinality\()*(?:U?Int|Float|Decimal)/.test(type);

/** The first column that has names and the first one that has numbers, as bars. */
function chartOf({ columns, rows }) {
    const values = columns.findLastIndex((it) => isNumber(it.type) && !/^_object_id$|_id$/.test(it.name));
    const names = columns.findIndex((it, index) => index !== values && (!isNumber(it.type) || columns.length === 2));
    if (values < 0 || names < 0 || rows.length < 2) return null;
    const bars = rows.slice(0, BARS).map((row) => ({ name: row[names] === null ? "(none)" : value(row[names]), value: Number(row[values]) }));
    const of = rows.length > BARS ? `, the first ${BARS}` : "";
    return barChart(`${columns[values].name} by ${columns[names].name}${of}`, bars);
}

function save(blob, name) {
    const address = URL.createObjectURL(blob);
    h("a", { href: address, download: name }).click();
    URL.revokeObjectURL(address);
}

function tableDetails(it, box) {
    const full = `${it.database}.${it.table}`;
    const insert = (text) => {
        box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
        box.focus();
    };
    return h(
        "details",
        { "data-key": full, class: "table" },
        h("summary", {}, h("code", {}, full)),
        h("button", { type: "button", class: "small", onclick: () => insert(tableName(it.database, it.table)) }, "Insert the name"),
        h(
            "ul",
            { class: "plain" },
            it.columns.map((column) =>
                h(
                    "li",
                    {},
                    h("button", { type: "button", class: "name", title: "Insert", onclick: () => insert(column.name) }, column.name),
                    h("span", { class: "muted" }, ` ${column.type}`),
                    column.comment && h("span", { class: "block" }, column.comment),
                ),
            ),
        ),
    );
}

function limits() {
    return h(
        "p",
        { class: "hint" },
        "Limits of a question: it may only read, has 30 s, and 64 MiB for its answer; up to 10,000 rows are shown, and a file has up to 1,000,000.",
    );
}
