// What is wrong and what to do about it, in words, gathered from everything that the page
// knows.

import { h } from "./dom.js";
import { unobeyedFor } from "./live.js";
import { countOf } from "./problems.js";
import { milliseconds, number, sentence, when } from "./words.js";

/** What conditions of the service mean, where their own text does not say what to do. */
const CONDITIONS = {
    kafka: "Kafka does not answer. Commands wait and nothing is loaded until it does.",
    registry: "The schema registry does not answer. Loading waits for it.",
    clickhouse: "ClickHouse does not take rows. They wait in Kafka, and nothing is lost.",
    warehouse: "This ClickHouse is not the one that was loaded before. If that is on purpose: POST /v1/warehouse/rebuild.",
    targets: "The tables of some streams cannot be written: their records wait in Kafka.",
    start: "The service is starting.",
};

const MINUTE = 60_000;

/** A worker obeys a command sooner than in this time. */
const OBEYS = MINUTE;

/** How far the next report may be overdue: a run gives up HubSpot, and says so, after 5 min. */
const OVERDUE = 7 * MINUTE;

/** A run reports with each page that it has read, which takes less than this. */
const LONGEST_PAGE = 8 * MINUTE;

/** Some run of a connection begins at least so often, unless it says that it waits. */
const LONGEST_INTERVAL = 60 * MINUTE;

/** What the page reads beside the connections and the dead letters, as `seen.unread` names it. */
export const READY = "Whether the service is ready";
export const PASSES = "The reconciliations of";

/** The list of all that is wrong, or a line that says that nothing is. */
export function wrong(live, seen) {
    const connections = live.connections ?? [];
    const found = [
        ...ofService(seen),
        ...connections.flatMap((it) => [...ofWorker(it, live, seen), ...ofConnection(it, seen)]),
    ];
    const unknown = notKnown(live, seen);
    return [
        h("h2", { id: "wrong-title" }, "What is wrong and what to do"),
        found.length > 0 && h("ul", { class: "wrong", "data-key": "-found" }, found.map(item)),
        unknown.length > 0 && h("p", { class: "muted", "data-key": "-unknown" }, `Not known yet: ${unknown.join(", ")}.`),
        found.length + unknown.length === 0 && h("p", { class: "fine", "data-key": "-fine" }, "Nothing is wrong."),
    ];
}

/** What has not been read yet. What cannot be read is among what is wrong. */
function notKnown(live, seen) {
    const readsAll = (live.connections ?? []).every((it) => seen.reconciliations.has(it.name));
    const failed = [...seen.unread.keys()];
    return [
        !live.connections && "the connections",
        live.connections && live.lostAt && `what has changed since ${when(live.lostAt)}`,
        !seen.failures && !failed.includes(READY) && "whether the service is ready",
        !seen.letters.letters && !seen.letters.error && "whether there are dead letters",
        !readsAll && !failed.some((it) => it.startsWith(PASSES)) && "the reconciliations",
    ].filter(Boolean);
}

function item(it) {
    return h(
        "li",
        { class: it.isSevere ? "severe" : null, "data-key": `${it.where} ${it.code}` },
        h("strong", {}, it.where),
        h("p", {}, it.what),
        it.advice && h("p", {}, h("span", { class: "do" }, "What to do: "), it.advice),
        h("p", { class: "muted" }, it.code && h("code", {}, it.code), it.at && ` since ${when(it.at)}`),
    );
}

function ofService(seen) {
    const found = Object.entries(seen.failures ?? {}).map(([code, text]) => ({
        where: "The service is not ready",
        what: `${CONDITIONS[code] ?? ""} ${sentence(text)}`.trim(),
        code,
        isSevere: true,
    }));
    if (seen.letters.letters?.length > 0) {
        found.push({
            where: "Dead letters",
            what: `${countOf(seen.letters)} of the log could not be stored.`,
            advice: h("a", { href: "/problems" }, "See the reasons, and store what can be stored now"),
            code: "dead_letters",
        });
    }
    const unread = new Map(seen.unread);
    if (seen.letters.error) unread.set("The dead letters", seen.letters.error);
    for (const [what, why] of unread) found.push({ where: what, what: `This cannot be read now, and is tried again: ${why}`, code: "not_read" });
    return found;
}

const FIND_WORKER =
    "See whether a worker runs. If none does, start one; the end of its log says why it ended. " +
    "If one runs, its log and its /health/ready say what it waits for.";

/** Whether a worker reports of a connection and obeys it: what it has reported stays when it is gone. */
function ofWorker(it, live, seen) {
    const told = (what, advice = FIND_WORKER) => [
        { where: `Connection ${it.name}`, what, advice, code: "no_worker", isSevere: advice === FIND_WORKER },
    ];
    // What is shown while the server is away may have changed.
    const unobeyed = live.lostAt ? 0 : unobeyedFor(it.name);
    if (!it.observed) {
        if (unobeyed > OBEYS) return told("No worker has taken it yet.");
        const advice = "If this stays so, see whether the worker runs and is ready.";
        return it.state === "running" ? told("No worker has taken it yet.", advice) : [];
    }
    const since = live.lostAt ? null : silentSince(it, live.connections, seen.serverTime);
    if (since) return told(`No worker has reported since ${when(since)}, so nothing is read from HubSpot.`);
    // Of a command that cannot be read, its own error says so.
    if (unobeyed > OBEYS && (it.observed.obeyed || !it.observed.error)) {
        return told("No worker has obeyed the last command, which was given more than a minute ago.");
    }
    return [];
}

/** When the worker of a running connection has reported last, if it should have reported since. */
function silentSince(it, connections, now) {
    if (!now || it.state !== "running" || it.observed.state !== "running") return null;
    const at = (time) => new Date(time).getTime();
    // A worker that is busy with others lets a stream wait.
    const ofSame = connections.filter((each) => each.observed?.worker === it.observed.worker);
    const reports = ofSame.flatMap((each) => [each.observed.at, ...each.streams.map((stream) => stream.at)]);
    const last = Math.max(...reports.filter(Boolean).map(at));
    const next = it.streams
        .filter((stream) => stream.at && !["stopped", "failed"].includes(stream.phase))
        .map((stream) => (stream.next_run ? at(stream.next_run) : at(stream.at) + LONGEST_PAGE));
    if (next.length === 0) return null;
    // A run is due by HubSpot's clock, and reported by the worker's. Where they differ, the
    // interval tells how long a worker may be silent.
    const silence = Math.min(milliseconds(it.interval), LONGEST_INTERVAL);
    const due = Math.max(Math.min(...next), last + silence);
    return now > due + OVERDUE ? last : null;
}

function ofConnection(it, seen) {
    const where = `Connection ${it.name}`;
    const found = [];
    const error = it.observed?.error;
    if (error) found.push(withAdvice(where, error, true));
    for (const stream of it.streams) found.push(...ofStream(`${where}, ${stream.name}`, stream));
    for (const pass of seen.reconciliations.get(it.name) ?? []) {
        if (!pass.waits_for) continue;
        found.push({
            where: `${where}, ${pass.stream}`,
            what: `Deletions wait for a person: ${sentence(pass.waits_for)}`,
            advice: "Look in HubSpot whether these objects are really gone, then confirm it below.",
            code: "waits_for",
            at: pass.finished_at,
        });
    }
    return found;
}

function ofStream(where, stream) {
    const found = [];
    if (stream.error) found.push(withAdvice(where, stream.error, ["failed", "skipped"].includes(stream.phase)));
    if (stream.not_loaded) {
        found.push({
            where,
            what: `Its records wait in Kafka and are not loaded: ${sentence(stream.not_loaded)}`,
            code: "not_loaded",
            isSevere: true,
        });
    }
    if (stream.verdict?.still_different) {
        found.push({
            where,
            what: `At least ${number(stream.verdict.still_different)} objects in ClickHouse differ from HubSpot.`,
            advice: "Reconcile the stream once more. If the number stays, the log of data-streams names the ranges of ids.",
            code: "still_different",
            at: stream.verdict.at,
        });
    }
    return found;
}

function withAdvice(where, error, isSevere) {
    return { where, what: sentence(error.message), advice: sentence(error.advice), code: error.code, at: error.at, isSevere };
}
