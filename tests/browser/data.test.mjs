// Finding records, and reading one.

import assert from "node:assert/strict";

import { api, assertAccessible, eventually, gate, goTo, inPage, LISTED, picture, ran, scenario, simulator, stream } from "./support.mjs";

/** A contact that has a name and an address, and is not among those that are listed at first. */
async function someContact() {
    const url = "/v1/connections/default/records/contacts?limit=60&properties=email,firstname,lastname";
    const { results } = await api.get(url);
    return results.slice(LISTED).find((it) => it.properties.email && it.properties.firstname && it.properties.lastname);
}

scenario("a contact is found by id, by e-mail, by name and by any property", async () => {
    const contact = await someContact();
    await inPage({ path: "/data" }, async (page) => {
        const find = async (by, text) => {
            await page.getByLabel("Find by").selectOption(by);
            await page.getByLabel("Text").fill(text);
            await page.getByRole("button", { name: "Find" }).click();
        };
        const { firstname, lastname, email } = contact.properties;
        const row = page.getByRole("link", { name: contact.id, exact: true });
        await page.getByText(`${LISTED} records with the lowest ids.`).waitFor();
        assert.equal(await row.count(), 0);
        await find({ label: "E-mail" }, email.toUpperCase());
        await page.getByText(`1 record with “${email.toUpperCase()}”.`).waitFor();
        await row.waitFor();
        await find({ label: "Name" }, `${firstname} ${lastname}`);
        await page.getByText(new RegExp(`^\\d+ records? with “${firstname} ${lastname}”\\.$`)).waitFor();
        await row.waitFor();
        await find({ value: "hs_object_id" }, contact.id);
        await page.getByText(`with “${contact.id}”.`).waitFor();
        await row.waitFor();
        await find({ label: "E-mail" }, "nobody'\\%{x:String}");
        await page.getByText(/^0 records with /).waitFor();
        await find({ label: "Id" }, contact.id);
        await page.getByRole("heading", { name: `${firstname} ${lastname}`, level: 1 }).waitFor();
        // The address is the page's own.
        await page.reload();
        await page.getByRole("heading", { name: `${firstname} ${lastname}`, level: 1 }).waitFor();
        await page.goBack();
        await page.getByRole("heading", { name: "Data", level: 1 }).waitFor();
    });
});

scenario("companies are found by name", async () => {
    const { results } = await api.get("/v1/connections/default/records/companies?limit=60&properties=name");
    const company = results.slice(LISTED).find((it) => it.properties.name);
    await inPage({ path: "/data?type=companies" }, async (page) => {
        await page.getByText(`${LISTED} records with the lowest ids.`).waitFor();
        assert.equal(await page.getByRole("link", { name: company.id, exact: true }).count(), 0);
        await page.getByLabel("Find by").selectOption({ label: "Name" });
        await page.getByLabel("Text").fill(company.properties.name);
        await page.getByRole("button", { name: "Find" }).click();
        await page.getByRole("link", { name: company.id, exact: true }).waitFor();
    });
});

scenario("what a person has chosen stays when the properties arrive", async () => {
    await inPage({ path: "/runs" }, async (page) => {
        const { open, opened } = gate();
        await page.route("**/v1/sql", async (route) => {
            await opened;
            await route.continue();
        });
        await goTo(page, "Data");
        const by = page.getByLabel("Find by");
        await by.selectOption("id");
        open();
        await by.locator('option[value="hs_object_id"]').waitFor({ state: "attached" });
        assert.equal(await by.inputValue(), "id");
    });
});

scenario("a slow answer does not replace that of a later question", async () => {
    const { email } = (await someContact()).properties;
    await inPage({ path: "/data" }, async (page) => {
        const [asked, slow, answered] = [gate(), gate(), gate()];
        await page.getByLabel("Find by").locator('option[value="hs_object_id"]').waitFor({ state: "attached" });
        await page.route("**/v1/sql", async (route) => {
            if (!route.request().postData().includes("slow question")) return route.continue();
            asked.open();
            await slow.opened;
            // The page may have given it up.
            await route.fulfill({ json: { columns: [], rows: [], elapsed_ms: 1, is_cut: false } }).catch(() => {});
            answered.open();
        });
        const find = async (text) => {
            await page.getByLabel("Text").fill(text);
            await page.getByRole("button", { name: "Find" }).click();
        };
        await find("slow question");
        await asked.opened;
        await find(email);
        await page.getByText(`1 record with “${email}”.`).waitFor();
        slow.open();
        await answered.opened;
        // What has arrived before this answer has been shown.
        await page.evaluate(() => fetch("/health/ready").then((it) => it.text()));
        await page.getByText(`1 record with “${email}”.`).waitFor();
        assert.equal(await page.getByText("slow question").count(), 0);
    });
});

scenario("the history tells what changed and where it came from, page by page", async () => {
    const { id } = await someContact();
    const history = `/v1/connections/default/records/contacts/${id}/history?limit=1000`;
    const before = (await api.get(history)).results.length;
    for (let number = 1; before + number <= 22; number += 1) {
        await simulator.send("POST", `objects/contacts/${id}/update`, { city: `City ${number}` });
        await ran();
    }
    await inPage({ path: `/data/default/contacts/${id}` }, async (page) => {
        const versions = page.getByRole("region", { name: "History" }).locator("li.version");
        await versions.nth(19).waitFor();
        const first = versions.first();
        await first.getByText(/^City \d+$/).first().waitFor();
        for (const name of ["Run", "Reason", "Topic", "Partition", "Offset", "Fetched"]) {
            await first.locator("dt", { hasText: name }).first().waitFor();
        }
        await page.getByRole("button", { name: "Older versions" }).click();
        await versions.last().getByText(/First version/).waitFor();
        await page.getByLabel("Only those with").fill("city");
        await page.getByRole("region", { name: "Properties" }).getByRole("row", { name: /^City City \d+ city$/ }).waitFor();
    });
});

scenario("a record shows what it is associated with, with labels and links", async () => {
    const contact = await someContact();
    const { results } = await api.get("/v1/connections/default/records/companies?limit=20&properties=name");
    const company = results.find((it) => it.properties.name);
    await inPage({ path: `/data/default/contacts/${contact.id}` }, async (page) => {
        await page.getByRole("region", { name: "Associations" }).getByText("None are synced.").waitFor();
    });
    const ends = { from_type: "contacts", from: Number(contact.id), to_type: "companies", to: Number(company.id) };
    await simulator.send("POST", "changes", { op: "associate", ...ends, label: "Billing contact" });
    const streams = ["contacts", "companies", "contacts>companies"];
    await api.send("PATCH", "/v1/connections/default", { streams });
    const isStored = async () => {
        const { status, body } = await api.send("GET", `/v1/connections/default/records/contacts/${contact.id}/associations/companies`);
        return status === 200 && body.results.some((it) => it.label === "Billing contact");
    };
    await eventually("the associations are stored", isStored);
    await inPage({ path: `/data/default/contacts/${contact.id}` }, async (page) => {
        const found = page.getByRole("region", { name: "Associations" });
        await found.getByRole("heading", { name: /^companies \([12]\)$/ }).waitFor();
        const item = found.getByRole("listitem").filter({ hasText: "Billing contact" });
        await assertAccessible(page, "associations");
        await picture(page, "associations");
        await item.getByRole("link", { name: company.properties.name }).click();
        await page.getByRole("heading", { name: company.properties.name, level: 1 }).waitFor();
    });
    await inPage({}, async (page) => {
        // Associations have no page of their own.
        await stream(page, "contacts>companies").getByRole("link", { name: "contacts>companies" }).click();
        await page.waitForURL("**/data?connection=default&type=contacts");
    });
    await inPage({ path: "/data" }, async (page) => {
        const types = page.getByLabel("Object type").locator("option");
        await types.nth(1).waitFor({ state: "attached" });
        assert.deepEqual(await types.allTextContents(), ["contacts", "companies"]);
    });
});

scenario("a record that is not stored is said to be so", async () => {
    await inPage({ path: "/data/default/contacts/99999999999" }, async (page) => {
        await page.getByText("No record 99999999999 of contacts is stored for default.").waitFor();
    });
});
