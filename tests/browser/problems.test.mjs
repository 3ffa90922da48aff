// The page of problems.

import assert from "node:assert/strict";

import { api, gate, goTo, inPage, ran, scenario, simulator, wrong } from "./support.mjs";

const ofLetters = (page) => page.getByRole("region", { name: "Dead letters", exact: true });

scenario("dead letters are shown with their reason, and are stored again by a click", async () => {
    await inPage({ path: "/problems" }, async (page) => {
        const letters = ofLetters(page);
        // A message that is no record was written to the log before the tests.
        await letters.getByRole("row").getByText("not_framed").first().waitFor();
        await letters.getByRole("button", { name: "Store what can be stored now" }).click();
        await letters.getByText(/^\d+ messages? stored\. 1 message still cannot be stored\.$/).waitFor();
    });
});

scenario("dead letters that are being read for somebody else are asked for again", async () => {
    await inPage({ path: "/runs" }, async (page) => {
        const [second, held] = [gate(), gate()];
        const overrun = { code: "overrun", detail: "too many requests at a time", status: 429 };
        let asked = 0;
        await page.route(/\/v1\/dead-letters(\?|$)/, async (route) => {
            asked += 1;
            if (asked === 1) return route.fulfill({ status: 429, json: overrun });
            second.open();
            await held.opened;
            await route.continue();
        });
        await goTo(page, "Problems");
        await second.opened;
        assert.equal(await ofLetters(page).locator(".bad").count(), 0);
        held.open();
        await ofLetters(page).getByRole("row").getByText("not_framed").first().waitFor();
    });
});

scenario("a list of dead letters that is cut says so", async () => {
    const letter = { topic: "records", partition: 0, key: null, reason: "not_framed", error: "no Avro", bytes: 9 };
    const results = Array.from({ length: 100 }, (_, offset) => ({ ...letter, offset, timestamp: new Date().toISOString() }));
    await inPage({ path: "/runs" }, async (page) => {
        await page.route(/\/v1\/dead-letters(\?|$)/, (route) => route.fulfill({ json: { results } }));
        await goTo(page, "Problems");
        await ofLetters(page).getByText("These are the newest 100; there may be more.").waitFor();
        await goTo(page, "Overview");
        await wrong(page).getByText("100 or more messages of the log could not be stored.").waitFor();
    });
});

scenario("the overview tells what it does not know yet, and what it cannot read", async () => {
    await inPage({ path: "/runs" }, async (page) => {
        const { open, opened } = gate();
        const starting = { code: "starting", detail: "the service is starting", status: 503 };
        await page.route("**/health/ready", async (route) => {
            await opened;
            await route.continue();
        });
        await page.route("**/metrics", (route) => route.fulfill({ status: 503, json: starting }));
        await goTo(page, "Overview");
        const unread = wrong(page).getByRole("listitem").filter({ hasText: "How loading goes" });
        await unread.getByText("This cannot be read now, and is tried again: The service is starting.").waitFor();
        const unknown = wrong(page).getByText(/^Not known yet: .*whether the service is ready/);
        await unknown.waitFor();
        open();
        await unknown.waitFor({ state: "detached" });
        await page.unroute("**/metrics");
        await unread.waitFor({ state: "detached" });
    });
});

scenario("a stream that is skipped is shown with its scope", async () => {
    await simulator.fail({ fault: "refused", form: "forbidden" }, { object_type: "companies" });
    await inPage({ path: "/problems" }, async (page) => {
        await api.send("POST", "/v1/connections/default/sync", { streams: ["companies"] });
        const item = page.getByRole("listitem").filter({ hasText: "default, companies" });
        await item.getByText("crm.objects.companies.read").first().waitFor();
        await item.getByText("What to do:").first().waitFor();
    });
});

scenario("objects that HubSpot does not give are named", async () => {
    // One in the middle: those beside it tell where it is.
    const { results } = await api.get("/v1/connections/default/records/contacts?limit=300&properties=email");
    const id = Number(results[250].id);
    for (const kind of ["list", "list_archived", "batch_read"]) {
        await simulator.fail({ fault: "failing_objects", ids: [id], code: 500 }, { kind, object_type: "contacts" });
    }
    await ran("reconcile");
    await inPage({ path: "/problems" }, async (page) => {
        const objects = page.getByRole("region", { name: "Runs with unreadable objects" });
        await objects.getByText(String(id)).first().waitFor();
    });
    await simulator.heal();
    await ran("reconcile");
});
