// For everyone: screen readers, keyboards, light and dark, a phone.

import assert from "node:assert/strict";

import { api, assertAccessible, assertFits, card, inPage, picture, scenario, simulator } from "./support.mjs";

const PHONE = { width: 390, height: 844 };

/** Each page: its name, its address, and how to see that it is shown. */
async function pages() {
    const { results } = await api.get("/v1/connections/default/records/contacts?limit=1&properties=email");
    const question = "SELECT lifecyclestage, count() AS contacts FROM hubspot.contacts GROUP BY lifecyclestage";
    const isAnswered = async (page) => {
        await page.getByText(/^\d+ rows in /).waitFor();
        await page.locator("details.table").first().waitFor();
    };
    const hasTable = (name) => (page) => page.getByRole("region", { name }).waitFor();
    const hasLetters = (page) => page.getByRole("region", { name: "Dead letters, newest first" }).waitFor();
    return [
        ["overview", "/", (page) => card(page).waitFor()],
        ["runs", "/runs", hasTable("Runs, newest first")],
        ["data", "/data", hasTable("Records of contacts")],
        ["record", `/data/default/contacts/${results[0].id}`, (page) => page.locator("li.version").first().waitFor()],
        ["sql", `/sql?query=${encodeURIComponent(question)}`, isAnswered],
        ["problems", "/problems", hasLetters],
    ];
}

for (const colorScheme of ["light", "dark"]) {
    scenario(`no page has a serious fault, ${colorScheme}`, async () => {
        for (const [name, path, isShown] of await pages()) {
            await inPage({ path, colorScheme }, async (page) => {
                await isShown(page);
                await picture(page, `${name}-${colorScheme}`);
                await assertAccessible(page, `${name}, ${colorScheme}`, colorScheme);
            });
        }
    });

    scenario(`no dialog and no error has a serious fault, ${colorScheme}`, async () => {
        await simulator.fail({ fault: "refused", form: "forbidden" }, { object_type: "companies" });
        await api.send("POST", "/v1/connections/default/sync", { streams: ["companies"] });
        await inPage({ colorScheme, viewport: PHONE }, async (page) => {
            const dialog = page.getByRole("dialog");
            await page.locator(".stream .problem").first().waitFor();
            for (const name of ["Edit", "Check", "Delete"]) {
                await card(page).getByRole("button", { name, exact: true }).click();
                await dialog.waitFor();
                if (name === "Check") await dialog.getByRole("table").waitFor();
                await picture(page, `dialog-${name.toLowerCase()}-${colorScheme}`);
                await assertAccessible(page, `${name}, ${colorScheme}`, colorScheme);
                await assertFits(page, `${name}, ${colorScheme}`);
                await page.keyboard.press("Escape");
                await dialog.waitFor({ state: "detached" });
            }
            await page.getByRole("button", { name: "New connection" }).click();
            await dialog.waitFor();
            await picture(page, `dialog-new-${colorScheme}`);
            await assertAccessible(page, `New connection, ${colorScheme}`, colorScheme);
            await page.keyboard.press("Escape");
            await picture(page, `overview-errors-${colorScheme}`);
            await assertAccessible(page, `errors, ${colorScheme}`, colorScheme);
        });
    });
}

scenario("no page is wider than a phone", async () => {
    for (const [name, path, isShown] of await pages()) {
        await inPage({ path, viewport: PHONE, isMobile: true, hasTouch: true }, async (page) => {
            await isShown(page);
            await picture(page, `${name}-phone`);
            await assertFits(page, name);
        });
    }
});

scenario("the keyboard reaches the content, the pages and the buttons", async () => {
    await inPage({}, async (page) => {
        await card(page).waitFor();
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
        await page.keyboard.press("Enter");
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "New connection");
        await page.keyboard.press("Enter");
        await page.getByRole("dialog").waitFor();
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
        // Another page begins at its heading.
        await page.getByRole("link", { name: "Runs", exact: true }).press("Enter");
        await page.getByRole("heading", { name: "Runs", level: 1 }).waitFor();
        assert.equal(await page.evaluate(() => document.activeElement.textContent), "Runs");
        assert.equal(await page.title(), "Runs · HubSpot streams");
    });
});
