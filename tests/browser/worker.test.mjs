// A worker that is gone: what it has reported stays, so the page has to tell.

import assert from "node:assert/strict";

import { api, card, inPage, scenario, withoutWorker, wrong } from "./support.mjs";

const HOUR = 3_600_000;

scenario("a worker that is gone is told, and what waits for it says so until one is back", async () => {
    await withoutWorker(async (start) => {
        await inPage({}, async (page) => {
            await page.clock.install();
            await page.reload();
            const dialog = page.getByRole("dialog");
            const says = (text) => card(page).getByText(text).waitFor();
            const gone = wrong(page).getByRole("listitem").filter({ hasText: "No worker has obeyed the last command" });

            // A request that somebody takes back by a stop.
            await card(page).getByRole("button", { name: "Sync now" }).click();
            await says("The sync is accepted and takes its turn.");
            const stopping = api.send("POST", "/v1/connections/default/stop");
            await says("The sync is no longer waited for: the connection was stopped.");
            await api.send("POST", "/v1/connections/default/start", {});
            await stopping;
            await card(page).getByRole("button", { name: "Stop", exact: true }).waitFor();

            await card(page).getByRole("button", { name: "Edit" }).click();
            await dialog.getByLabel("Interval").fill("2h");
            await dialog.getByRole("button", { name: "Save" }).click();
            await says("The settings are saved; waiting for a worker to take them …");
            assert.equal(await gone.count(), 0);
            await page.clock.fastForward(61_000);
            await gone.getByText("What to do:").waitFor();

            await start();
            await says("The settings are changed: the worker has taken them.");
            await gone.waitFor({ state: "detached" });
        });
    });
    await api.send("PATCH", "/v1/connections/default", { interval: "1h" });
});

scenario("a worker that should have reported long ago is told", async () => {
    await inPage({}, async (page) => {
        const gone = wrong(page).getByRole("listitem").filter({ hasText: "No worker has reported since" });
        // The time by the server's clock, three hours later.
        await page.route("**/health/ready", async (route) => {
            const response = await route.fetch();
            const date = new Date(Date.now() + 3 * HOUR).toUTCString();
            await route.fulfill({ response, headers: { ...response.headers(), date } });
        });
        await gone.getByText("What to do:").waitFor();
        await page.unroute("**/health/ready");
        await gone.waitFor({ state: "detached" });
    });
});
