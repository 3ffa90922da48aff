// Requests to the API: failures as problems, and answers that arrive event by event. Where
// the API has a token, the browser asks for it, as a password, and sends it along.

/** A failure that the API has explained. */
export class Problem extends Error {
    constructor(status, body) {
        super(body.detail || `the answer has status ${status}`);
        this.status = status;
        this.code = body.code ?? "";
        this.fields = body.errors ?? [];
    }
}

/** A failure to reach the server at all. */
export class Unreachable extends Error {
    constructor() {
        super("the server does not answer");
    }
}

/** The path of a connection, or of what belongs to it. */
export function path(connection, ...parts) {
    return ["/v1/connections", connection, ...parts].map((it, index) => (index ? encodeURIComponent(it) : it)).join("/");
}

/** Sends a request and returns its answer, whatever its status is. */
export async function send(method, url, { body, headers = {}, signal } = {}) {
    return fetch(url, {
        method,
        signal,
        cache: "no-store",
        headers: {
            ...(body === undefined ? {} : { "content-type": "application/json" }),
            ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
    }).catch((error) => {
        throw signal?.aborted ? error : new Unreachable();
    });
}

/** Sends a request; a failure is thrown as a problem. */
export async function call(method, url, options) {
    const answer = await send(method, url, options);
    const text = await answer.text().catch(() => {
        throw new Unreachable();
    });
    const body = parsed(text);
    if (!answer.ok) throw new Problem(answer.status, body);
    return { status: answer.status, body, headers: answer.headers, text };
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return {};
    }
}

/** The body of an answer to GET. */
export async function get(url, signal) {
    return (await call("GET", url, { signal })).body;
}

/** How long to wait before what the server has no place for is asked again. */
const RETRY = 2_000;

/** Asks until the server has a place for it; `waits` is called each time it has none. */
export async function inTurn(ask, signal, waits) {
    for (;;) {
        try {
            return await ask();
        } catch (error) {
            if (!(error instanceof Problem) || error.status !== 429) throw error;
        }
        waits?.();
        await new Promise((resolve) => setTimeout(resolve, RETRY));
        signal.throwIfAborted();
    }
}

/** Rows of a SQL query: each an object by the names of its columns. */
export async function rows(query, parameters = {}, { limit = 1_000, signal } = {}) {
    const body = { query, parameters, limit };
    const answer = (await call("POST", "/v1/sql", { body, signal })).body;
    const names = answer.columns.map((it) => it.name);
    return answer.rows.map((row) => Object.fromEntries(row.map((it, index) => [names[index], it])));
}

/** Why something failed, for people. */
export function reason(error) {
    if (error instanceof Problem && error.code === "read_only_token") {
        return "This token may only read. To change something, open the page in a new window with the other token.";
    }
    if (error instanceof Problem && error.code === "sql_disabled") {
        return (
            "SQL is not set up: start data-streams with CLICKHOUSE_READER_PASSWORD, the password of " +
            "ClickHouse's user reader."
        );
    }
    const text = error.message || String(error);
    return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** How long nothing may arrive: the server sends a comment every 15 s. */
const SILENCE_LIMIT = 45_000;

/** Calls `got` for each event of a stream. Returns when the stream ends. */
export async function events(url, signal, got) {
    const silence = new AbortController();
    const either = AbortSignal.any([signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), SILENCE_LIMIT);
    try {
        const answer = await send("GET", url, { headers: { accept: "text/event-stream" }, signal: either });
        if (!answer.ok) throw new Problem(answer.status, parsed(await answer.text()));
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            clearTimeout(timer);
            timer = setTimeout(() => silence.abort(), SILENCE_LIMIT);
            const parts = (text + value.replaceAll("\r\n", "\n")).split("\n\n");
            text = parts.pop();
            for (const part of parts) {
                const event = read(part);
                if (event.data) got(event);
            }
        }
    } finally {
        clearTimeout(timer);
    }
}

/** The name and the data of an event. Lines that begin with a colon are comments. */
function read(part) {
    const event = { name: "message", data: "" };
    for (const line of part.split("\n")) {
        const [, field, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (field === "event") event.name = text;
        if (field === "data") event.data += (event.data ? "\n" : "") + text;
    }
    return event;
}
