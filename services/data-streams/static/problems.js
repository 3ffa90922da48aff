// The page of problems: dead letters, streams that HubSpot refuses, objects that cannot be
// read.

import { call, get, inTurn, path, reason } from "./api.js";
import { announce, h, table, update } from "./dom.js";
import { live, watch } from "./live.js";
import { problem, tag } from "./parts.js";
import { ago, count, dateTime, number, sentence } from "./words.js";

/** How often what has no events is read again. */
const TICK = 10_000;

/** How often dead letters are read again: each time the server reads all of them. */
const LETTERS_TICK = 60_000;

/** How many dead letters are read at most. */
const LETTERS = 100;

/**
 * Reads the newest dead letters now and again, until `signal`; calls `changed` each time.
 * Gives what is known of them, `isCut` if there may be more, and `read`.
 */
export function watchLetters(signal, changed) {
    const known = { letters: null, error: null, isCut: false, read: null };
    let reads = Promise.resolve();
    let isReading = false;
    let at = 0;
    const ask = async () => {
        isReading = true;
        try {
            const url = `/v1/dead-letters?limit=${LETTERS}`;
            known.letters = (await inTurn(() => get(url, signal), signal)).results;
            known.isCut = known.letters.length === LETTERS;
            known.error = null;
        } catch (error) {
            known.error = reason(error);
        }
        isReading = false;
        at = performance.now();
        if (!signal.aborted) changed();
    };
    // One after the other: the server reads them for one at a time.
    known.read = () => (reads = reads.then(ask));
    const timer = setInterval(() => {
        // What failed is tried again soon.
        const isDue = known.error || performance.now() - at >= LETTERS_TICK;
        if (isDue && !isReading && !document.hidden && !live.lostAt) known.read();
    }, TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    known.read();
    return known;
}

/** How many dead letters there are, as far as it is known. */
export function countOf({ letters, isCut }) {
    return isCut ? `${number(letters.length)} or more messages` : count(letters.length, "message");
}

/** Shows the page in `root` until `signal`. */
export function problems(root, { signal }) {
    const letters = h("section", { "aria-labelledby": "letters-title" });
    const refused = h("section", { "aria-labelledby": "refused-title" });
    const objects = h("section", { "aria-labelledby": "unreadable-title" });
    const known = { note: null, unreadable: null, unreadableError: null };

    root.append(h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Problems")), letters, refused, objects);

    const show = () => {
        update(letters, deadLetters(dead, known.note, reprocess));
        update(refused, refusedStreams(live.connections));
        update(objects, unreadableObjects(known));
    };

    const readObjects = async () => {
        if (!live.connections) return;
        try {
            known.unreadable = (await Promise.all(live.connections.map((it) => unreadableOf(it.name, signal)))).flat();
            known.unreadableError = null;
        } catch (error) {
            known.unreadableError = reason(error);
        }
    };

    const read = async () => {
        await readObjects();
        if (!signal.aborted) show();
    };

    const reprocess = async () => {
        const busy = (text) => {
            known.note = { text, kind: "busy" };
            show();
        };
        busy("Storing what can be stored now …");
        try {
            const ask = () => call("POST", "/v1/dead-letters/reprocess");
            const waits = () => busy("The dead letters are being read for somebody else; trying again …");
            const { body } = await inTurn(ask, signal, waits);
            const left = body.left > 0 ? `${count(body.left, "message")} still cannot be stored.` : "None is left.";
            known.note = { text: `${count(body.stored, "message")} stored. ${left}`, kind: body.left > 0 ? "bad" : "good" };
        } catch (error) {
            known.note = { text: reason(error), kind: "bad" };
        }
        if (signal.aborted) return;
        announce(known.note.text);
        show();
        await dead.read();
    };

    const dead = watchLetters(signal, () => show());
    watch(signal, show);
    const timer = setInterval(() => !document.hidden && !live.lostAt && read(), TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    let names = "";
    watch(signal, () => {
        const now = (live.connections ?? []).map((it) => it.name).join();
        if (now !== names) read();
        names = now;
    });
    read();
}

const LETTER_HEADINGS = [
    { text: "When" },
    { text: "Reason" },
    { text: "Key" },
    { text: "Topic" },
    { text: "Partition", number: true },
    { text: "Offset", number: true },
    { text: "Bytes", number: true },
];

function deadLetters({ letters, error, isCut }, note, reprocess) {
    return [
        h("h2", { id: "letters-title" }, "Dead letters"),
        h("p", { class: "hint" }, "Messages of the log that could not be stored in ClickHouse. Their bytes stay in Kafka, so nothing is lost."),
        error && h("p", { class: "bad" }, error),
        note && h("p", { class: `note ${note.kind}`, "data-key": "-note" }, note.text),
        !letters && !error && h("p", { class: "muted" }, "Loading …"),
        letters?.length === 0 && h("p", { class: "fine" }, "There is none."),
        letters?.length > 0 && [
            h("button", { type: "button", class: "primary", onclick: reprocess }, "Store what can be stored now"),
            isCut && h("p", { class: "muted" }, `These are the newest ${number(letters.length)}; there may be more.`),
            table("Dead letters, newest first", LETTER_HEADINGS, letters.toReversed().map(letter)),
        ],
    ];
}

function letter(it) {
    return {
        key: `${it.topic} ${it.partition} ${it.offset}`,
        cells: [
            dateTime(it.timestamp),
            [h("code", {}, it.reason), h("span", { class: "block" }, sentence(it.error))],
            it.key ?? "",
            it.topic,
            String(it.partition),
            String(it.offset),
            number(it.bytes),
        ],
    };
}

function refusedStreams(connections) {
    const all = (connections ?? []).flatMap((connection) => [
        connection.observed?.error && {
            key: connection.name,
            title: [h("strong", {}, `Connection ${connection.name}`), " ", tag(connection.observed.state)],
            content: problem(connection.observed.error),
        },
        ...connection.streams.flatMap((stream) => ofStream(connection.name, stream)),
    ]);
    const found = all.filter(Boolean);
    return [
        h("h2", { id: "refused-title" }, "Connections and streams that are refused, skipped or wait"),
        !connections && h("p", { class: "muted" }, "Loading …"),
        connections && found.length === 0 && h("p", { class: "fine" }, "There is none."),
        h(
            "ul",
            { class: "plain" },
            found.map((it) => h("li", { class: "card", "data-key": it.key }, h("p", {}, it.title), it.content)),
        ),
    ];
}

function ofStream(connection, stream) {
    const title = (state) => [h("strong", {}, `${connection}, ${stream.name}`), " ", tag(state)];
    return [
        stream.error && { key: `${connection} ${stream.name}`, title: title(stream.phase), content: problem(stream.error) },
        stream.not_loaded && {
            key: `${connection} ${stream.name} not loaded`,
            title: title("not loaded"),
            content: h("p", {}, `Its records wait in Kafka: ${sentence(stream.not_loaded)}`),
        },
        ...stream.limitations.map((it) => ({
            key: `${connection} ${stream.name} ${it.capability}`,
            title: title(`without ${it.capability.replaceAll("_", " ")}`),
            content: [
                h("p", {}, sentence(it.advice)),
                h("p", { class: "muted" }, `${sentence(it.message)} Tried again ${ago(it.retry_at)}.`),
            ],
        })),
    ];
}

/** What the last runs and passes of a connection could not read. */
async function unreadableOf(name, signal) {
    const [runs, passes] = await Promise.all([get(path(name, "runs"), signal), get(path(name, "reconciliations"), signal)]);
    const found = new Map();
    for (const it of runs.results) {
        if (it.unreadable > 0) found.set(it.run_id, { ...it, connection: name, at: it.finished_at ?? it.started_at });
    }
    for (const it of passes.results) {
        if (it.unreadable === 0 || found.has(it.id)) continue;
        found.set(it.id, { ...it, run_id: it.id, reason: it.kind, unreadable_ids: [], connection: name, at: it.finished_at });
    }
    return [...found.values()];
}

const OBJECT_HEADINGS = [
    { text: "When" },
    { text: "Connection" },
    { text: "Stream" },
    { text: "Run" },
    { text: "Objects", number: true },
    { text: "Ids" },
];

function unreadableObjects({ unreadable, unreadableError }) {
    return [
        h("h2", { id: "unreadable-title" }, "Unreadable objects"),
        h("p", { class: "hint" }, "Objects that HubSpot did not give even alone. All others were read; the next reconciliation tries these again."),
        unreadableError && h("p", { class: "bad" }, unreadableError),
        !unreadable && !unreadableError && h("p", { class: "muted" }, "Loading …"),
        unreadable?.length === 0 && h("p", { class: "fine" }, "There is none in the last runs."),
        unreadable?.length > 0 &&
            table(
                "Runs with unreadable objects",
                OBJECT_HEADINGS,
                unreadable.map((it) => ({
                    key: `${it.connection} ${it.run_id}`,
                    cells: [
                        dateTime(it.at),
                        it.connection,
                        it.stream,
                        [it.reason, " ", h("code", { title: it.run_id }, it.run_id.slice(-8))],
                        number(it.unreadable),
                        it.unreadable_ids.join(", ") + (it.unreadable > it.unreadable_ids.length && it.unreadable_ids.length > 0 ? ", …" : ""),
                    ],
                })),
            ),
    ];
}
