// The first page: what is wrong and what to do, the connections, and how loading goes.

import { get, path, reason, Unreachable } from "./api.js";
import { card } from "./connection_card.js";
import { openNewConnection } from "./connection_form.js";
import { h, update } from "./dom.js";
import { live, watch } from "./live.js";
import { loading, readLoading } from "./loading.js";
import { notes } from "./actions.js";
import { watchLetters } from "./problems.js";
import { PASSES, READY, wrong } from "./wrong.js";

/** How often times are written anew, and what has no events is read again. */
const TICK = 5_000;

/** Shows the page in `root` until `signal`. */
export function overview(root, { signal }) {
    const problems = h("section", { "aria-labelledby": "wrong-title" });
    const cards = h("div", { class: "cards" });
    const load = h("section", { "aria-labelledby": "loading-title" });
    // `unread` has why something cannot be read, by what it is.
    const seen = { reconciliations: new Map(), failures: null, serverTime: null, letters: null, loading: null, unread: new Map() };

    root.append(
        h(
            "div",
            { class: "title" },
            h("h1", { tabindex: "-1" }, "Overview"),
            h("button", { class: "primary", type: "button", onclick: () => openNewConnection() }, "New connection"),
        ),
        problems,
        cards,
        load,
    );

    const show = () => {
        const now = Date.now();
        update(problems, wrong(live, seen));
        update(cards, connections(now, seen, (name) => readReconciliations(name).then(show, show)));
        update(load, loading(seen.loading, live.connections));
    };

    const readReconciliations = async (name) => {
        const answer = await get(path(name, "reconciliations"), signal);
        seen.reconciliations.set(name, answer.results);
    };

    const tick = async () => {
        show();
        if (document.hidden || live.lostAt) return;
        const names = (live.connections ?? []).map((it) => it.name);
        const sources = [
            [READY, readiness(signal).then((it) => Object.assign(seen, it))],
            ["How loading goes", readLoading(seen.loading, signal).then((it) => (seen.loading = it))],
            ...names.map((name) => [`${PASSES} ${name}`, readReconciliations(name)]),
        ];
        const isAsked = new Map(sources);
        for (const what of seen.unread.keys()) if (!isAsked.has(what)) seen.unread.delete(what);
        const ended = sources.map(([what, reading]) =>
            reading.then(() => seen.unread.delete(what), (error) => seen.unread.set(what, reason(error))),
        );
        await Promise.all(ended);
        if (!signal.aborted) show();
    };

    seen.letters = watchLetters(signal, show);
    watch(signal, show);
    notes.watch(signal, show);
    const timer = setInterval(tick, TICK);
    signal.addEventListener("abort", () => clearInterval(timer));
    tick();
    // The connections are not known at once; what is read of each of them follows.
    let known = "";
    watch(signal, () => {
        const names = (live.connections ?? []).map((it) => it.name).join();
        if (names !== known) tick();
        known = names;
    });
}

/** The conditions that do not hold, each with its reason, and the server's time. */
async function readiness(signal) {
    const failed = (error) => {
        throw signal.aborted ? error : new Unreachable();
    };
    const answer = await fetch("/health/ready", { signal, cache: "no-store", credentials: "omit" }).catch(failed);
    const { failures = {} } = await answer.json().catch(failed);
    return { failures, serverTime: Date.parse(answer.headers.get("date")) || null };
}

function connections(now, seen, changed) {
    if (!live.connections) {
        return h("p", { class: "muted", "data-key": "-wait" }, live.lostAt ? reason(new Error(live.why)) : "Loading …");
    }
    if (live.connections.length === 0) {
        return h(
            "div",
            { class: "card empty", "data-key": "-none" },
            h("h2", {}, "There is no connection yet"),
            h(
                "p",
                {},
                "A connection is one HubSpot account to sync: its credential, its object types, its schedule, and the ClickHouse database where it lands.",
            ),
            h("button", { class: "primary", type: "button", onclick: () => openNewConnection() }, "Connect an account"),
        );
    }
    return live.connections.map((it) => card(it, now, seen.reconciliations.get(it.name) ?? [], () => changed(it.name)));
}
