// An API with a token: the browser asks for it, as a password, and the page works with it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { card, inPage } from "./support.mjs";

const base = process.env.TOKEN_DASHBOARD_URL;
const token = process.env.API_TOKEN;
const reading = process.env.API_READ_TOKEN;

const withToken = (password) => ({ base, httpCredentials: { username: "", password } });

test("without the token there is no page, and with it the page shows everything", { skip: !base }, async () => {
    await inPage(withToken(token), async (page) => {
        await card(page).waitFor();
        assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage })), "{}");
        const without = await fetch(base);
        assert.equal(without.status, 401);
        assert.match(without.headers.get("www-authenticate"), /Basic/);
    });
});

test("with the token for reading, an action says that it is not enough", { skip: !base || !reading }, async () => {
    await inPage(withToken(reading), async (page) => {
        await card(page).getByRole("button", { name: "Sync now" }).click();
        await card(page).getByText("This token may only read.").waitFor();
    });
});
