// What changes is shown without a reload, also after the server was away.

import assert from "node:assert/strict";

import { relay } from "./relay.mjs";
import { api, card, DASHBOARD, eventually, inPage, scenario, simulator, stream } from "./support.mjs";

/** Marks the page, to see later that it is the same one. */
const mark = (page) => page.evaluate(() => (window.marked = true));
const isMarked = (page) => page.evaluate(() => window.marked === true);

scenario("another person's changes are shown without a reload", async () => {
    await inPage({}, async (page) => {
        await card(page).getByText("1h").waitFor();
        await card(page).getByText(/^Requests of these 10 s: [\d,]+ of [\d,]+$/).waitFor();
        await card(page).getByText(/^Requests of the day: [\d,]+ of [\d,]+$/).waitFor();
        await mark(page);
        // What has the focus keeps it.
        await card(page).getByRole("button", { name: "Edit" }).focus();
        await api.send("PATCH", "/v1/connections/default", { interval: "2h" });
        await card(page).getByText("2h").waitFor();
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Edit");
        await api.send("PUT", "/v1/connections/spare", {});
        await card(page, "spare").waitFor();
        await api.send("DELETE", "/v1/connections/spare");
        await card(page, "spare").waitFor({ state: "detached" });
        await api.send("POST", "/v1/connections/default/stop");
        await card(page).locator(".states .tag.stopped").waitFor();
        await stream(page, "contacts").locator(".tag.stopped").waitFor();
        await api.send("POST", "/v1/connections/default/start", { interval: "1h" });
        await card(page).locator(".states .tag.running").waitFor();
        assert.ok(await isMarked(page));
    });
});

scenario("a server that is away is told, what was known stays, and what changed meanwhile is shown", async () => {
    const between = await relay(DASHBOARD);
    try {
        await inPage({ base: between.address }, async (page) => {
            await page.getByText("Live", { exact: true }).waitFor();
            await card(page).getByText("1h").waitFor();
            await mark(page);
            for (const interval of ["3h", "4h"]) {
                await between.cut();
                await page.getByText(/^Not connected since \d\d:\d\d:\d\d: .*Trying again/).waitFor();
                await card(page).waitFor();
                await card(page).getByRole("button", { name: "Sync now" }).click();
                await card(page).getByText("The server does not answer.").waitFor();
                await api.send("PATCH", "/v1/connections/default", { interval });
                await between.open();
                await card(page).getByText(interval).waitFor();
                await page.getByText("Live", { exact: true }).waitFor();
            }
            assert.ok(await isMarked(page));
        });
    } finally {
        await between.cut();
    }
    await api.send("PATCH", "/v1/connections/default", { interval: "1h" });
});

scenario("a restart of the server is survived without a reload", async () => {
    await inPage({}, async (page) => {
        await page.getByText("Live", { exact: true }).waitFor();
        await card(page).waitFor();
        await mark(page);
        await fetch(process.env.RESTART_URL);
        const change = () => api.send("PATCH", "/v1/connections/default", { interval: "7h" }).catch(() => ({ status: 0 }));
        await eventually("the server answers again", async () => (await change()).status === 200);
        await card(page).getByText("7h").waitFor();
        await page.getByText("Live", { exact: true }).waitFor();
        assert.ok(await isMarked(page));
    });
    await api.send("PATCH", "/v1/connections/default", { interval: "1h" });
});

scenario("a page that is opened while the server starts is filled once it is there", async () => {
    await inPage({}, async (page) => {
        await card(page).waitFor();
        const starting = { code: "starting", detail: "the service is starting", status: 503 };
        await page.route("**/v1/connections", (route) => route.fulfill({ status: 503, json: starting }));
        await page.reload();
        await page.getByText(/^Not connected since .*the service is starting/i).waitFor();
        await page.unroute("**/v1/connections");
        await card(page).waitFor();
    });
});

scenario("a stream whose token may not read it is skipped, with the reason and what to do", async () => {
    await simulator.fail({ fault: "refused", form: "forbidden" }, { object_type: "companies" });
    await inPage({}, async (page) => {
        await page.getByRole("button", { name: "Sync companies" }).click();
        await stream(page, "companies").locator(".tag.skipped").waitFor();
        await stream(page, "companies").getByText("crm.objects.companies.read").first().waitFor();
        const wrong = page.getByRole("region", { name: "What is wrong and what to do" });
        const item = wrong.getByRole("listitem").filter({ hasText: "companies" }).first();
        await item.getByText("What to do:").waitFor();
        await simulator.heal();
        await api.send("POST", "/v1/connections/default/start", {});
        await item.waitFor({ state: "detached" });
    });
});
