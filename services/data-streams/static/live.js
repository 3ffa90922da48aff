// The connections, kept up to date by events of the server. After a lost connection it
// tries again, ever more slowly, and says since when it has not been connected.

import { events, reason, Unreachable } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

/** What is known now. `connections` is null before the first event. */
export const live = { connections: null, lostAt: null, why: "", at: null };

const listeners = new Set();
const paces = new Map();
const unobeyed = new Map();

/** Calls `changed` now and after every change, until `signal`. */
export function watch(signal, changed) {
    listeners.add(changed);
    signal.addEventListener("abort", () => listeners.delete(changed));
    changed();
}

function changed() {
    for (const listener of listeners) listener();
}

/** Waits until `found` is true of the connections. */
export function until(found, signal) {
    return new Promise((resolve) => {
        const ended = new AbortController();
        watch(AbortSignal.any([signal, ended.signal]), () => {
            const result = live.connections && found(live.connections);
            if (!result) return;
            ended.abort();
            resolve(result);
        });
    });
}

/** A connection by its name. */
export function connection(name) {
    return live.connections?.find((it) => it.name === name) ?? null;
}

/** Follows the connections for as long as the page is open. */
export async function follow() {
    let pause = FIRST_PAUSE;
    for (;;) {
        try {
            await events("/v1/connections", AbortSignal.timeout(2 ** 31 - 1), (event) => {
                if (event.name !== "connections") return;
                take(JSON.parse(event.data).connections);
                pause = FIRST_PAUSE;
            });
            lost("the server has ended the connection");
        } catch (error) {
            const isSilent = error.name === "AbortError" || error.name === "TypeError";
            lost(isSilent ? new Unreachable().message : reason(error));
        }
        await untilRetry(pause);
        pause = Math.min(LONGEST_PAUSE, pause * 2);
    }
}

function take(connections) {
    live.connections = connections;
    live.at = Date.now();
    live.lostAt = null;
    live.why = "";
    measure(connections);
    noteUnobeyed(connections);
    changed();
}

function lost(why) {
    live.lostAt ??= Date.now();
    live.why = why.replace(/\.$/, "");
    changed();
}

// At once when the machine is online again or a person looks at the page again.
function untilRetry(pause) {
    return new Promise((resolve) => {
        const retry = () => {
            clearTimeout(timer);
            window.removeEventListener("online", retry);
            document.removeEventListener("visibilitychange", retry);
            resolve();
        };
        const timer = setTimeout(retry, pause * (0.75 + Math.random() / 2));
        window.addEventListener("online", retry);
        document.addEventListener("visibilitychange", retry);
    });
}

/**
 * Notes since when the last command of a connection is not obeyed. The page measures it
 * by itself, as its clock, the server's and the worker's may differ.
 */
function noteUnobeyed(connections) {
    const names = new Set(connections.map((it) => it.name));
    for (const name of unobeyed.keys()) if (!names.has(name)) unobeyed.delete(name);
    for (const { name, command_id, observed } of connections) {
        const obeyed = observed?.obeyed ?? null;
        if (obeyed === command_id) unobeyed.delete(name);
        // A further command does not begin anew, but one that is obeyed does.
        else if (unobeyed.get(name)?.obeyed !== obeyed) unobeyed.set(name, { obeyed, since: performance.now() });
    }
}

/** For how many ms the page has seen that the last command of a connection is not obeyed. */
export function unobeyedFor(name) {
    const it = unobeyed.get(name);
    return it ? performance.now() - it.since : 0;
}

/** For how long the rate is measured. */
const WINDOW = 15_000;

/** Notes how many records each stream has, and when its worker said so. */
function measure(connections) {
    for (const connection of connections) {
        for (const stream of connection.streams) {
            const key = `${connection.name}/${stream.name}`;
            const at = new Date(stream.at ?? 0).getTime();
            const pace = paces.get(key);
            if (!pace || pace.run !== stream.run_id) {
                paces.set(key, { run: stream.run_id, samples: [[at, stream.records_in_run]] });
                continue;
            }
            if (pace.samples.at(-1)[0] < at) pace.samples.push([at, stream.records_in_run]);
            while (pace.samples.length > 2 && pace.samples[0][0] < at - WINDOW) pace.samples.shift();
        }
    }
}

/** Records a second of the run that is going on; null before it is known. */
export function rate(connection, stream) {
    const samples = paces.get(`${connection}/${stream.name}`)?.samples ?? [];
    if (samples.length < 2) return null;
    const [from, to] = [samples[0], samples.at(-1)];
    const seconds = (to[0] - from[0]) / 1000;
    return seconds > 0 ? (to[1] - from[1]) / seconds : null;
}
