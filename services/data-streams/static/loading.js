// How loading into ClickHouse goes: how much of the log is not read yet, and how old
// records are when they are stored. From the metrics of this instance.

import { call } from "./api.js";
import { h } from "./dom.js";
import { duration, number } from "./words.js";

const LAG = "data_streams_ingest_lag_records";
const AGE = "data_streams_ingest_freshness_seconds";
const ROWS = "data_streams_ingest_rows_total";
const BATCH = "data_streams_ingest_batch_rows";

/** Reads the metrics. `before` is what was read before, for what has happened since. */
export async function readLoading(before, signal) {
    const text = (await call("GET", "/metrics", { signal })).text;
    const sums = new Map();
    for (const line of text.split("\n")) {
        const [, name, value] = /^([a-z_]+)(?:\{[^}]*\})? (\S+)/.exec(line) ?? [];
        if (name) sums.set(name, (sums.get(name) ?? 0) + Number(value));
    }
    const read = {
        at: performance.now(),
        lag: sums.get(LAG) ?? null,
        batchRows: sums.get(BATCH) ?? null,
        rows: sums.get(ROWS) ?? 0,
        batches: sums.get(`${AGE}_count`) ?? 0,
        seconds: sums.get(`${AGE}_sum`) ?? 0,
    };
    const batches = read.batches - (before?.batches ?? 0);
    // While nothing is loaded, the last age stays.
    read.age = batches > 0 ? (read.seconds - (before?.seconds ?? 0)) / batches : (before?.age ?? null);
    const passed = before ? (read.at - before.at) / 1000 : 0;
    read.pace = passed > 0 && read.rows >= before.rows ? (read.rows - before.rows) / passed : null;
    return read;
}

/** The numbers as a part of the page. */
export function loading(it, connections) {
    const title = h("h2", { id: "loading-title" }, "Loading into ClickHouse");
    if (!it) return [title, h("p", { class: "muted" }, "Not known yet.")];
    const figure = (name, value, hint) =>
        h("div", { class: "figure" }, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "hint" }, hint));
    const waiting = (connections ?? []).flatMap((each) => each.streams).filter((each) => each.not_loaded).length;
    return [
        title,
        h(
            "dl",
            { class: "figures" },
            figure("Lag", it.lag === null ? "none" : number(it.lag), "messages in Kafka that this instance has not read yet"),
            figure("Batch age", it.age === null ? "–" : duration(it.age * 1000), "from Kafka to ClickHouse, in the last batches"),
            figure("Rows a second", it.pace === null ? "–" : number(Math.round(it.pace)), "stored in all tables, in the last seconds"),
            figure("Last batch", it.batchRows === null ? "–" : number(it.batchRows), "rows"),
            waiting > 0 && figure("Waiting streams", number(waiting), "whose records wait in Kafka"),
        ),
    ];
}
