// An API with a token: a form asks for it, and only this tab keeps it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { card, inPage } from "./support.mjs";

const base = process.env.TOKEN_DASHBOARD_URL;
const token = process.env.API_TOKEN;
const reading = process.env.API_READ_TOKEN;

test("the token is asked for, a wrong one is refused, and the right one shows the page", { skip: !base }, async () => {
    await inPage({ base }, async (page, context) => {
        const dialog = page.getByRole("dialog");
        await dialog.getByLabel("Token").fill("not-the-token");
        await dialog.getByRole("button", { name: "Continue" }).click();
        await dialog.getByText("The API refuses this token.").waitFor();
        await dialog.getByLabel("Token").fill(token);
        await dialog.getByRole("button", { name: "Continue" }).click();
        await dialog.waitFor({ state: "detached" });
        await card(page).waitFor();
        // It stays over a reload, in this tab only.
        await page.reload();
        await card(page).waitFor();
        assert.equal(await page.evaluate(() => JSON.stringify(localStorage) + document.cookie), "{}");
        const other = await context.newPage();
        await other.goto(base);
        await other.getByRole("dialog").getByLabel("Token").waitFor();
    });
});

test("with the token for reading, an action says that it is not enough", { skip: !base || !reading }, async () => {
    await inPage({ base }, async (page) => {
        await page.getByRole("dialog").getByLabel("Token").fill(reading);
        await page.getByRole("dialog").getByRole("button", { name: "Continue" }).click();
        await card(page).getByRole("button", { name: "Sync now" }).click();
        await card(page).getByText("This token may only read.").waitFor();
    });
});
