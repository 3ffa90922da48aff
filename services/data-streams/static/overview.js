// The first page: what is wrong and what to do, the connections, and how loading goes.

import { get, path, reason } from "./api.js";
import { card } from "./connection_card.js";
import { openNewConnection } from "./connection_form.js";
import { h, update } from "./dom.js";
import { live, watch } from "./live.js";
import { loading, readLoading } from "./loading.js";
import { notes } from "./actions.js";
import { wrong } from "./wrong.js";

/** How often times are written anew, and what has no events is read again. */
const TICK = 5_000;

/** Shows the page in `root` until `signal`. */
export function overview(root, { signal }) {
    const problems = h("section", { "aria-labelledby": "wrong-title" });
    const cards = h("div", { class: "cards" });
    const load = h("section", { "aria-labelledby": "loading-title" });
    const seen = { reconciliations: new Map(), failures: {}, letters: null, loading: null };

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
        update(cards, connections(now, seen, readReconciliations));
        update(load, loading(seen.loading, live.connections));
    };

    const readReconciliations = async (name) => {
        const answer = await get(path(name, "reconciliations"), signal);
        seen.reconciliations.set(name, answer.results);
        show();
    };

    const tick = async () => {
        if (document.hidden || live.lostAt) return show();
        const names = (live.connections ?? []).map((it) => it.name);
        const results = await Promise.allSettled([
            readiness(signal).then((it) => (seen.failures = it)),
            readLoading(seen.loading, signal).then((it) => (seen.loading = it)),
            get("/v1/dead-letters", signal).then((it) => (seen.letters = it.results.length)),
            ...names.map(readReconciliations),
        ]);
        seen.reason = results.find((it) => it.status === "rejected")?.reason;
        if (!signal.aborted) show();
    };

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

/** The conditions that do not hold, each with its reason. */
async function readiness(signal) {
    const answer = await fetch("/health/ready", { signal, cache: "no-store", credentials: "omit" });
    return (await answer.json()).failures ?? {};
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
