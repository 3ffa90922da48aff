// Questions in SQL.

import assert from "node:assert/strict";

import { readFile } from "node:fs/promises";
import { goTo, inPage, scenario } from "./support.mjs";

const ask = async (page, query) => {
    await page.getByLabel("Question").fill(query);
    await page.getByRole("button", { name: "Run" }).click();
};

scenario("every example is answered", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        const examples = page.locator(".questions button");
        await examples.first().waitFor();
        const titles = await examples.allTextContents();
        for (const wanted of ["Contacts by lifecycle stage", "Companies by number of contacts", "Changes of contacts per day"]) {
            assert.ok(titles.some((it) => it.startsWith(wanted)), wanted);
        }
        for (const example of await examples.all()) {
            await page.locator("[role=status]", { hasText: " in " }).evaluateAll((all) => all.forEach((it) => it.replaceChildren()));
            await example.click();
            await page.getByText(/^\d+ rows? in /).waitFor();
        }
    });
});

scenario("tables and columns are shown with their comments", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        await page.getByText("hubspot.contacts", { exact: true }).click();
        const table = page.locator('details[data-key="hubspot.contacts"]');
        await table.getByRole("button", { name: "lifecyclestage" }).waitFor();
        await table.getByText("Lifecycle").first().waitFor();
        await table.getByRole("button", { name: "Insert the name" }).click();
        assert.equal(await page.getByLabel("Question").inputValue(), "hubspot.contacts");
    });
});

scenario("tables that are made while the page is open appear", async () => {
    await inPage({ path: "/runs" }, async (page) => {
        await page.route("**/v1/sql", (route) => route.fulfill({ json: { columns: [], rows: [], elapsed_ms: 1, is_cut: false } }));
        await goTo(page, "SQL");
        await page.getByText("There is no table yet.").waitFor();
        await page.unroute("**/v1/sql");
        await page.getByText("hubspot.contacts", { exact: true }).waitFor();
        await page.getByRole("button", { name: "Contacts by lifecycle stage" }).waitFor();
    });
});

scenario("lifecycle stages are in HubSpot's order", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        await page.getByRole("button", { name: "Contacts by lifecycle stage" }).click();
        const stages = page.getByRole("region", { name: "Answer" }).locator("tbody td:first-child");
        await stages.first().waitFor();
        const order = [
            "subscriber",
            "lead",
            "marketingqualifiedlead",
            "salesqualifiedlead",
            "opportunity",
            "customer",
            "evangelist",
            "other",
        ];
        const found = await stages.allTextContents();
        const known = found.filter((it) => order.includes(it));
        assert.ok(known.length > 1, found.join());
        assert.deepEqual(known, order.filter((it) => known.includes(it)));
        assert.deepEqual(found.slice(0, known.length), known);
    });
});

scenario("other programs are told how to reach the data", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        const { hostname } = new URL(page.url());
        const command = page.getByText(`clickhouse-client --host ${hostname} --port 9000 --user reader --ask-password`);
        assert.ok(!(await command.isVisible()));
        await page.getByText("With other programs").click();
        await command.waitFor();
        await page.getByText(`jdbc:clickhouse://${hostname}:8123/hubspot`).waitFor();
    });
});

scenario("an answer that was cut says so, and its file is whole", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        await ask(page, "SELECT number, toString(number) AS text FROM numbers(1500)");
        await page.getByText("There are more: these are the first 1,000.").waitFor();
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            page.getByRole("button", { name: "Download CSV" }).click(),
        ]);
        assert.equal(download.suggestedFilename(), "answer.csv");
        const lines = (await readFile(await download.path(), "utf8")).trim().split("\n");
        assert.equal(lines.length, 1501);
        assert.match(lines[0], /number.*text/);
        // The address has the question, so that it can be kept and sent.
        await page.reload();
        await page.getByText(/^1,000 rows in /).waitFor();
    });
});

scenario("what ClickHouse refuses is shown in its words", async () => {
    await inPage({ path: "/sql" }, async (page) => {
        await ask(page, "SELECT no_such_column FROM hubspot.contacts");
        await page.getByRole("alert").filter({ hasText: "no_such_column" }).waitFor();
        await ask(page, "DROP TABLE hubspot.contacts");
        await page.getByRole("alert").filter({ hasText: /ACCESS_DENIED|readonly|Not enough privileges/i }).waitFor();
        await page.getByLabel("Question").fill("SELECT 1 AS one");
        await page.getByLabel("Question").press("Control+Enter");
        await page.getByText(/^1 row in /).waitFor();
    });
});

scenario("where SQL is not set up, the page says what to set", async () => {
    await inPage({ path: "/runs" }, async (page) => {
        const disabled = { code: "sql_disabled", detail: "no user for reading is set up", status: 409 };
        const missing = page.getByRole("alert").filter({ hasText: "CLICKHOUSE_READER_PASSWORD" });
        await page.route("**/v1/sql", (route) => route.fulfill({ status: 409, json: disabled }));
        await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "SQL" }).click();
        await missing.first().waitFor();
        await ask(page, "SELECT 1");
        await missing.nth(1).waitFor();
        // Records can still be found by id.
        await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Data" }).click();
        await page.getByRole("region", { name: "Records of contacts" }).waitFor();
    });
});
