// The page of runs.

import assert from "node:assert/strict";

import { inPage, ran, scenario } from "./support.mjs";

scenario("runs are listed and charted, filtered, and a new one appears by itself", async () => {
    await ran();
    await inPage({ path: "/runs" }, async (page) => {
        const rows = page.getByRole("region", { name: "Runs, newest first" }).locator("tbody tr");
        await rows.first().waitFor();
        await page.getByText("the last 20 others").waitFor();
        await page.getByRole("img", { name: /^Records, by the start of their run: / }).waitFor();
        await page.getByRole("img", { name: /^Requests to HubSpot, by the start of their run: / }).waitFor();
        await page.getByLabel("Stream").selectOption("companies");
        await page.waitForURL("**/runs?stream=companies");
        await rows.first().getByText("companies").waitFor();
        assert.equal(await rows.filter({ hasText: "contacts" }).count(), 0);
        const newest = await rows.first().getAttribute("data-key");
        await ran();
        await page.locator(`tbody tr:first-child:not([data-key="${newest}"])`).getByText("succeeded").waitFor();
        await page.getByLabel("Connection").selectOption("default");
        await page.waitForURL(/connection=default/);
        await rows.first().waitFor();
    });
});
