// What the buttons of a connection do, and the notes that tell what became of it.

import { call, path, Problem, reason } from "./api.js";
import { announce } from "./dom.js";
import { until } from "./live.js";
import { when } from "./words.js";

const listeners = new Set();
const texts = new Map();

/** The last note of each connection: what was asked for, and what became of it. */
export const notes = {
    /** The note of a connection: its text, and whether it is busy, good or bad. */
    of: (name) => texts.get(name) ?? null,
    /** Calls `changed` after every change, until `signal`. */
    watch(signal, changed) {
        listeners.add(changed);
        signal.addEventListener("abort", () => listeners.delete(changed));
    },
    /** Sets the note of a connection. */
    set(name, text, kind) {
        texts.set(name, { text, kind });
        announce(text);
        for (const listener of listeners) listener();
    },
};

const forever = new AbortController().signal;

/**
 * Runs an action; its failure becomes the note. It gets the function that sets the note,
 * for as long as no later action of that connection has begun.
 */
async function attempt(name, begin, action) {
    const mine = (latest.get(name) ?? 0) + 1;
    latest.set(name, mine);
    const say = (text, kind) => latest.get(name) === mine && notes.set(name, text, kind);
    say(begin, "busy");
    try {
        await action(say);
    } catch (error) {
        say(lostAgainst(error) ?? reason(error), "bad");
    }
}

/** The number of the last action of each connection. */
const latest = new Map();

function lostAgainst(error) {
    if (!(error instanceof Problem) || error.status !== 409) return null;
    if (error.code !== "superseded") return null;
    return "Somebody gave a later command, which holds. This page shows the state now.";
}

/** Starts a connection, and tells when the worker has taken it. */
export function start(name) {
    return attempt(name, `Starting ${name} …`, async (say) => {
        const { body } = await call("POST", path(name, "start"), { body: {} });
        say("The start is accepted; waiting for a worker to take it …", "busy");
        const observed = await obeyed(name, body.command_id);
        const failed = observed.state === "failed";
        const text = failed ? "The worker has taken it, and it has failed: see what is wrong, above." : "Started: the worker has taken it.";
        say(text, failed ? "bad" : "good");
    });
}

/** Stops a connection, and tells when the worker has acknowledged it. */
export function stop(name) {
    return attempt(name, `Stopping ${name}: waiting for the worker to acknowledge it …`, async (say) => {
        const { status, body } = await call("POST", path(name, "stop"));
        if (status === 202) {
            say(
                "The stop is accepted, but the worker has not acknowledged it yet, so requests may still go to HubSpot. Waiting on …",
                "busy",
            );
            await obeyed(name, body.command_id);
        }
        say(
            `Stopped at ${when(new Date())}: the worker has acknowledged it, and no request goes to HubSpot for this connection.`,
            "good",
        );
    });
}

/** Tells that settings are saved, and when the worker has taken them. */
export function saved(name, command) {
    return attempt(name, "The settings are saved; waiting for a worker to take them …", async (say) => {
        const observed = await obeyed(name, command);
        const failed = observed.state === "failed";
        const text = failed
            ? "The worker has taken the settings, and the connection has failed: see what is wrong, above."
            : "The settings are changed: the worker has taken them.";
        say(text, failed ? "bad" : "good");
    });
}

/** Waits until the worker has applied a command; fails if another one has replaced it. */
async function obeyed(name, command) {
    let seen = false;
    const observed = await until((connections) => {
        const it = connections.find((each) => each.name === name);
        // What is known may still be older than the command. Ids of later commands are
        // greater, as UUIDs of version 7 begin with the time.
        if (it?.command_id !== command) return seen || it?.command_id > command ? "replaced" : null;
        seen = true;
        const isOnItsWay = ["starting", "stopping"].includes(it.observed?.state);
        return it.observed?.obeyed === command && !isOnItsWay ? it.observed : null;
    }, forever);
    if (observed === "replaced") throw new Error("somebody gave a later command, which holds");
    return observed;
}

/** Asks for one run now, of all streams or of one. */
export function sync(name, stream) {
    return request(name, "sync", stream, "The sync");
}

/** Asks for a comparison of all records, of all streams or of one. */
export function reconcile(name, stream) {
    return request(name, "reconcile", stream, "The reconciliation");
}

function request(name, action, stream, what) {
    const of = stream ? ` of ${stream}` : "";
    return attempt(name, `Asking for ${what.toLowerCase()}${of} …`, async (say) => {
        const { body } = await call("POST", path(name, action), { body: stream ? { streams: [stream] } : {} });
        say(`${what}${of} is accepted and takes its turn.`, "busy");
        const lost = await carriedOut(name, body);
        if (lost) say(`${what}${of} is no longer waited for: ${lost}`, "bad");
        else say(`${what}${of} is done.`, "good");
    });
}

/**
 * Waits until requests are carried out. Returns null, or why one of them will not be:
 * the worker reports only the last request of a stream that was done.
 */
async function carriedOut(name, { request_id: id, requests }) {
    let seen = false;
    const end = await until((connections) => {
        const it = connections.find((each) => each.name === name);
        if (!it) return { lost: "the connection was deleted." };
        const fates = requests.map((wanted) => fate(it, wanted));
        // What is known may still be older than the requests, see `obeyed`.
        seen ||= it.command_id > id || fates.includes("open");
        if (fates.includes("open") || (!seen && fates.some((each) => each !== "done"))) return null;
        return { lost: fates.find((each) => each !== "done") ?? null };
    }, forever);
    return end.lost;
}

/** What became of a request: "open", "done", or why it will not be carried out. */
function fate(connection, wanted) {
    const stream = connection.streams.find((it) => it.name === wanted.stream);
    if (!stream) return `${wanted.stream} was taken out of the settings.`;
    if (stream.request_done === wanted.request_id) return "done";
    const later = stream.pending_request;
    if (later?.request_id === wanted.request_id) return "open";
    if (later) return `another run of ${wanted.stream} was asked for, which takes its place.`;
    if (connection.state === "stopped") return "the connection was stopped. The page Runs shows what was done before.";
    return "a later command took its place. The page Runs shows what was done.";
}

/** Lets the deletions of a reconciliation be carried out. */
export function confirmDeletions(name, id) {
    return attempt(name, "Confirming the deletions …", async (say) => {
        await call("POST", path(name, "reconciliations", id, "confirm"));
        say("The deletions are confirmed, and are carried out by the next run.", "good");
    });
}
