// The page of runs: a chart of records and requests over time, and a table.

import { get, path, reason } from "./api.js";
import { timeChart } from "./chart.js";
import { field, h, options, table, update } from "./dom.js";
import { live, watch } from "./live.js";
import { tag } from "./parts.js";
import { ago, dateTime, duration, number, REASONS, sentence } from "./words.js";

/** How often the runs are read again while one is going on. */
const TICK = 3_000;

/** Shows the page in `root` until `signal`. */
export function runs(root, { url, signal, replace }) {
    const chosen = { connection: url.searchParams.get("connection") ?? "", stream: url.searchParams.get("stream") ?? "" };
    const connections = h("select", { name: "connection", onchange: () => choose(connections.value, "") });
    const streams = h("select", { name: "stream", onchange: () => choose(chosen.connection, streams.value) });
    const place = h("div", {});
    let results = null;
    let failure = null;

    root.append(
        h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Runs")),
        h("div", { class: "filters" }, field("Connection", connections), field("Stream", streams)),
        h("p", { class: "hint" }, "Of each stream: the runs that have not ended, the last 20 others, and the last one of each reason."),
        place,
    );

    const choose = (connection, stream) => {
        Object.assign(chosen, { connection, stream });
        replace("/runs", chosen);
        results = null;
        read();
    };

    const read = async () => {
        const names = (live.connections ?? []).map((it) => it.name).filter((it) => !chosen.connection || it === chosen.connection);
        try {
            const answers = await Promise.all(names.map((name) => get(path(name, "runs"), signal)));
            results = answers.flatMap((it, index) => it.results.map((run) => ({ ...run, connection: names[index] })));
            failure = null;
        } catch (error) {
            if (signal.aborted) return;
            failure = reason(error);
        }
        show();
    };

    const show = () => {
        const known = live.connections ?? [];
        const ofChosen = known.filter((it) => !chosen.connection || it.name === chosen.connection);
        const names = new Set(ofChosen.flatMap((it) => it.streams.map((each) => each.name)));
        update(connections, options([["", "All connections"], ...known.map((it) => it.name)], chosen.connection));
        update(streams, options([["", "All streams"], ...names], chosen.stream));
        connections.value = chosen.connection;
        streams.value = chosen.stream;
        const shown = (results ?? [])
            .filter((it) => !chosen.stream || it.stream === chosen.stream)
            .sort((a, b) => b.started_at.localeCompare(a.started_at));
        update(place, failure && h("p", { class: "bad" }, failure), content(results, shown));
    };

    // A run begins or ends: its id or outcome changes in the connections.
    let seen = "";
    watch(signal, () => {
        const all = (live.connections ?? []).flatMap((it) => it.streams.map((each) => [it.name, each.run_id, each.outcome, each.phase]));
        if (JSON.stringify(all) === seen) return;
        seen = JSON.stringify(all);
        read();
    });
    const timer = setInterval(() => {
        const goesOn = results?.some((it) => !it.outcome);
        if (goesOn && !document.hidden && !live.lostAt) read();
    }, TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    show();
}

function content(results, shown) {
    if (!results) return h("p", { class: "muted" }, "Loading …");
    if (shown.length === 0) return h("p", { class: "muted" }, "There is no run yet.");
    return [charts(shown), runTable(shown)];
}

/** Of a run that the worker knows no start of, the time is before all others. */
const knowsStart = (it) => new Date(it.started_at).getTime() > 0;

function charts(all) {
    const shown = all.filter(knowsStart);
    if (shown.length === 0) return null;
    const at = (it) => new Date(it.started_at).getTime();
    const from = Math.min(...shown.map(at));
    const ends = shown.map((it) => new Date(it.finished_at ?? it.started_at).getTime());
    const to = Math.max(...ends, from + 60_000);
    const chart = (title, name, kind) =>
        timeChart(title, shown.map((it) => ({ at: at(it), value: it[name] })), { from, to, kind });
    return h(
        "div",
        { class: "charts" },
        chart("Records, by the start of their run", "records", ""),
        chart("Requests to HubSpot, by the start of their run", "requests", "second"),
    );
}

const HEADINGS = [
    { text: "Started" },
    { text: "Connection" },
    { text: "Stream" },
    { text: "Reason" },
    { text: "Records", number: true },
    { text: "Requests", number: true },
    { text: "Duration", number: true },
    { text: "Outcome" },
    { text: "Run" },
];

function runTable(shown) {
    return table(
        "Runs, newest first",
        HEADINGS,
        shown.map((it) => ({ key: `${it.connection} ${it.stream} ${it.run_id}`, cells: cells(it) })),
    );
}

function cells(it) {
    return [
        knowsStart(it) ? h("time", { datetime: it.started_at, title: ago(it.started_at) }, dateTime(it.started_at)) : "not known",
        it.connection,
        it.stream,
        [h("span", {}, it.reason), REASONS[it.reason] && h("span", { class: "muted block" }, REASONS[it.reason])],
        number(it.records),
        number(it.requests),
        lasted(it),
        outcome(it),
        h("code", { title: it.run_id }, it.run_id.slice(-8)),
    ];
}

function lasted(it) {
    const began = new Date(it.started_at);
    if (!knowsStart(it)) return "";
    if (it.finished_at) return duration(new Date(it.finished_at) - began);
    return it.outcome ? "" : `${duration(Date.now() - began)} so far`;
}

function outcome(it) {
    return [
        tag(it.outcome ?? "running"),
        it.error && h("p", { class: "bad" }, `${sentence(it.error.message)} `, h("span", { class: "do" }, "What to do: "), sentence(it.error.advice)),
        it.retry_at && h("p", { class: "muted" }, `Continues ${ago(it.retry_at)}.`),
        it.unreadable > 0 && h("p", { class: "bad" }, h("a", { href: "/problems" }, `${number(it.unreadable)} unreadable`)),
        it.waits_for && h("p", { class: "bad" }, `Deletions wait: ${sentence(it.waits_for)}`),
    ];
}
