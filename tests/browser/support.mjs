// What the tests share: the browser, the API, the simulator's control, and waiting.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { after, test } from "node:test";

import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";

/** Where everything is; `tests/scenarios/dashboard.rs` sets it. */
export const DASHBOARD = needed("DASHBOARD_URL");
const SIMULATOR = needed("SIMULATOR_URL");

/** How long anything may take on a busy machine, in ms. */
export const LIMIT = Number(process.env.LIMIT_MS ?? 60_000);

/** Where a failed test leaves a picture, and each page one, if that is wanted. */
const PICTURES = process.env.SCREENSHOTS;

function needed(name) {
    const value = process.env[name];
    assert.ok(value, `${name} is not set`);
    return value.replace(/\/$/, "");
}

/** The path of a program that is given by its name or its path. */
function program(name) {
    if (name.includes("/")) return name;
    const found = (process.env.PATH ?? "").split(":").map((folder) => `${folder}/${name}`).find(existsSync);
    assert.ok(found, `${name} is not installed; CHROMIUM names another browser of its kind`);
    return found;
}

let launched = null;

function browser() {
    launched ??= chromium.launch({
        executablePath: program(process.env.CHROMIUM ?? "chromium"),
        // In a container everything runs as root, for which Chromium has no sandbox.
        args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
    return launched;
}

after(async () => (await launched)?.close());

/**
 * Runs a test in a page of its own. Fails if the page had an error or broke its policy.
 */
export async function inPage(options, test) {
    const { path = "/", base = DASHBOARD, ...more } = options;
    const context = await (await browser()).newContext({ viewport: { width: 1280, height: 900 }, ...more });
    context.setDefaultTimeout(LIMIT);
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.stack));
    page.on("console", (message) => {
        if (/Content Security Policy/i.test(message.text())) errors.push(message.text());
    });
    try {
        await page.goto(base + path);
        await test(page, context);
        assert.deepEqual(errors, []);
    } catch (error) {
        await picture(page, `failed-${Date.now()}`);
        throw error;
    } finally {
        await context.close();
    }
}

/** Takes a picture of the whole page, if pictures are wanted. */
export async function picture(page, name) {
    if (!PICTURES) return;
    mkdirSync(PICTURES, { recursive: true });
    await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true }).catch(() => {});
}

/** Asks until the answer is something. For what no event tells. */
export async function eventually(what, probe) {
    const end = Date.now() + LIMIT;
    for (;;) {
        const found = await probe();
        if (found) return found;
        assert.ok(Date.now() < end, `not in time: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

async function json(url, method = "GET", body, headers = {}) {
    const answer = await fetch(url, {
        method,
        headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    let read = null;
    try {
        read = JSON.parse(text);
    } catch {
        // Some answers have no body.
    }
    return { status: answer.status, body: read, headers: answer.headers };
}

/** The API, past the browser. */
export const api = {
    send: (method, path, body, headers) => json(DASHBOARD + path, method, body, headers),
    async get(path) {
        const answer = await json(DASHBOARD + path);
        assert.equal(answer.status, 200, path);
        return answer.body;
    },
    /** Waits until something is true of the connection `default`. */
    until: (what, found) =>
        eventually(what, async () => {
            const { status, body } = await json(`${DASHBOARD}/v1/connections/default`);
            return status === 200 && found(body) ? body : null;
        }),
};

/** The control of the simulated HubSpot. */
export const simulator = {
    async send(method, path, body) {
        const answer = await json(`${SIMULATOR}/__sim/${path}`, method, body);
        assert.ok(answer.status < 300, `${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
        return answer.body;
    },
    fail: (fault, more = {}) => simulator.send("POST", "faults", { times: "always", fault, ...more }),
    heal: () => simulator.send("POST", "faults/clear"),
};

/** Makes HubSpot whole and the connection `default` synced and running. */
export async function synced() {
    await simulator.heal();
    await api.send("POST", "/v1/connections/default/start", { interval: "1h", streams: ["contacts", "companies"] });
    const isDone = (it) => it.last_success && !it.error && ["idle", "incremental"].includes(it.phase);
    await api.until("the first runs have succeeded", (it) => it.streams.every(isDone) && !it.observed?.error);
}

/** A test that begins with a HubSpot that is whole, and a connection that is synced. */
export function scenario(name, body) {
    test(name, async () => {
        await synced();
        await body();
    });
}

/** Ends the worker for a while; `body` gets what starts one again. */
export async function withoutWorker(body) {
    const ask = (what) => fetch(`${process.env.RESTART_URL}/worker/${what}`);
    let started = null;
    const start = () => (started ??= ask("start"));
    await ask("end");
    try {
        await body(start);
    } finally {
        await start();
    }
}

/** Something that is held until it is let go. */
export function gate() {
    let open;
    const opened = new Promise((resolve) => (open = resolve));
    return { open, opened };
}

/** The list of what is wrong on the overview. */
export const wrong = (page) => page.getByRole("region", { name: "What is wrong and what to do" });

/** Goes to another page of the dashboard by its link. */
export const goTo = (page, name) => page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true }).click();

/** So many records the page Data lists before anything is searched. */
export const LISTED = 20;

/** Forgets the connection `default` and its data. */
export async function forgotten() {
    await simulator.heal();
    await eventually("the connection is deleted", async () => {
        const { status } = await api.send("DELETE", "/v1/connections/default?purge=true");
        return status === 200 || status === 404;
    });
}

/** Lets a run of all streams be made and waits until it is done. */
export async function ran(action = "sync") {
    const { body } = await api.send("POST", `/v1/connections/default/${action}`, {});
    const isDone = (it) => body.requests.every((wanted) => it.streams.find((each) => each.name === wanted.stream).request_done === wanted.request_id);
    await api.until(`the ${action} is done`, isDone);
}

/** The part of the overview that shows a connection. */
export const card = (page, name = "default") => page.getByRole("region", { name, exact: true });

/** The part of it that shows a stream. */
export const stream = (page, name) => card(page).locator(`li.stream[data-key="${name}"]`);

/**
 * Finds nothing serious that keeps people from using the page. Only the colours differ
 * between light and dark.
 */
export async function assertAccessible(page, what, colorScheme = "light") {
    const axe = new AxeBuilder({ page });
    if (colorScheme !== "light") axe.withRules(["color-contrast"]);
    const { violations } = await axe.analyze();
    const found = violations
        .filter((it) => ["serious", "critical"].includes(it.impact))
        .map((it) => `${it.id}: ${it.help}: ${it.nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
    assert.deepEqual(found, [], what);
}

/** The page is not wider than the screen. */
export async function assertFits(page, what) {
    const { wide, width } = await page.evaluate(() => ({
        wide: document.documentElement.scrollWidth,
        width: document.documentElement.clientWidth,
    }));
    assert.ok(wide <= width, `${what}: ${wide} px in ${width} px`);
}
