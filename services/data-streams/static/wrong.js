// What is wrong and what to do about it, in words, gathered from everything that the page
// knows.

import { h } from "./dom.js";
import { count, number, sentence, when } from "./words.js";

/** What conditions of the service mean, where their own text does not say what to do. */
const CONDITIONS = {
    kafka: "Kafka does not answer. Commands wait and nothing is loaded until it does.",
    registry: "The schema registry does not answer. Loading waits for it.",
    clickhouse: "ClickHouse does not take rows. They wait in Kafka, and nothing is lost.",
    warehouse: "This ClickHouse is not the one that was loaded before. If that is on purpose: POST /v1/warehouse/rebuild.",
    targets: "The tables of some streams cannot be written: their records wait in Kafka.",
    start: "The service is starting.",
};

/** The list of all that is wrong, or a line that says that nothing is. */
export function wrong(live, seen) {
    const found = [...ofService(seen), ...(live.connections ?? []).flatMap((it) => ofConnection(it, seen))];
    const title = h("h2", { id: "wrong-title" }, "What is wrong and what to do");
    if (!live.connections) return [title, h("p", { class: "muted" }, "Not known yet.")];
    if (found.length === 0) return [title, h("p", { class: "fine" }, "Nothing is wrong.")];
    return [title, h("ul", { class: "wrong" }, found.map(item))];
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
    const found = Object.entries(seen.failures).map(([code, text]) => ({
        where: "The service is not ready",
        what: `${CONDITIONS[code] ?? ""} ${sentence(text)}`.trim(),
        code,
        isSevere: true,
    }));
    if (seen.letters) {
        found.push({
            where: "Dead letters",
            what: `${count(seen.letters, "message")} of the log could not be stored.`,
            advice: h("a", { href: "/problems" }, "See the reasons, and store what can be stored now"),
            code: "dead_letters",
        });
    }
    return found;
}

function ofConnection(it, seen) {
    const where = `Connection ${it.name}`;
    const found = [];
    const error = it.observed?.error;
    if (error) found.push(withAdvice(where, error, true));
    if (!it.observed && it.state === "running") {
        found.push({
            where,
            what: "No worker has taken it yet.",
            advice: "If this stays so, see whether the worker runs and is ready.",
            code: "no_worker",
        });
    }
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
