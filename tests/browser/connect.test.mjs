// What a person new to it does in the browser alone, from the first click on.

import assert from "node:assert/strict";
import { test } from "node:test";

import { api, card, eventually, forgotten, goTo, inPage, LISTED, simulator, stream, synced, wrong } from "./support.mjs";

test("connect, see the first sync, stop it, find a contact and its history, ask SQL, see why a sync stopped", async () => {
    await forgotten();
    // So that the first sync takes some seconds.
    await simulator.fail({ fault: "delay", ms: 1500 }, { kind: "list", object_type: "contacts" });
    await inPage({}, async (page) => {
        await connect(page);
        await seeProgressAndStop(page);
        await simulator.heal();
        await card(page).getByRole("button", { name: "Start", exact: true }).click();
        await stream(page, "contacts").locator(".tag.idle").waitFor();
        await stream(page, "companies").locator(".tag.idle").waitFor();
        await findContact(page);
        await askSql(page);
        await seeWhySyncStopped(page);
    });
    await synced();
});

async function connect(page) {
    const dialog = page.getByRole("dialog");
    // What is read at the start can move the button, also while it is pressed.
    await eventually("the form is open", async () => {
        await page.getByRole("button", { name: "Connect an account" }).click();
        return dialog.isVisible();
    });
    assert.equal(await dialog.getByLabel("Name", { exact: true }).inputValue(), "default");
    await dialog.getByRole("button", { name: "Create and check" }).click();
    await dialog.getByText("The credential works and leads to portal").waitFor();
    await dialog.getByText("crm.objects.contacts.read").waitFor();
    const contacts = dialog.getByRole("row", { name: /^contacts/ });
    assert.equal(await contacts.getByText("yes").count(), 6);
    assert.equal((await api.get("/v1/connections/default")).state, "stopped");
    await dialog.getByRole("button", { name: "Start", exact: true }).click();
}

async function seeProgressAndStop(page) {
    const bar = page.getByRole("progressbar", { name: "Progress of contacts" });
    await eventually("the progress moves", async () => {
        const now = Number(await bar.getAttribute("aria-valuenow"));
        assert.ok(now < 100, "the first sync is too fast to be seen");
        return now > 0;
    });
    await stream(page, "contacts").getByText(/of about [\d,]+ · [\d,]+ a second · .+ left/).waitFor();
    await card(page).getByRole("button", { name: "Stop", exact: true }).click();
    await card(page).getByText(/^Stopped at .* the worker has acknowledged it/).waitFor();
    await card(page).locator(".states .tag.stopped").waitFor();
    await stream(page, "contacts").locator(".tag.stopped").waitFor();
    assert.equal((await api.get("/v1/connections/default")).observed.state, "stopped");
}

async function findContact(page) {
    // What the worker has written is in ClickHouse a moment later.
    const contact = await eventually("a contact is stored", async () => {
        const { results } = await api.get("/v1/connections/default/records/contacts?limit=60&properties=email,lastname");
        return results.slice(LISTED).find((it) => it.properties.email);
    });
    // A value that it never had.
    const city = `Longyearbyen ${Date.now()}`;
    await simulator.send("POST", `objects/contacts/${contact.id}/update`, { city });
    await page.getByRole("button", { name: "Sync contacts" }).click();
    await card(page).getByText("The sync of contacts is done.").waitFor();

    await goTo(page, "Data");
    const link = page.getByRole("link", { name: contact.id, exact: true });
    await page.getByText(`${LISTED} records with the lowest ids.`).waitFor();
    assert.equal(await link.count(), 0);
    await page.getByLabel("Find by").selectOption({ label: "E-mail" });
    await page.getByLabel("Text").fill(contact.properties.email);
    // A scheduled run may have read it before the requested one.
    const { reason } = await eventually("the change is stored", async () => {
        const path = `/v1/connections/default/records/contacts/${contact.id}/history`;
        const { results } = await api.get(path);
        return results.length === 2 && results[0];
    });
    await page.getByRole("button", { name: "Find" }).click();
    await link.click();
    await page.waitForURL(`**/data/default/contacts/${contact.id}`);
    const versions = page.getByRole("region", { name: "History" }).getByRole("listitem");
    await versions.first().getByText(city).waitFor();
    await versions.first().getByText(reason).first().waitFor();
    await versions.last().getByText(/First version/).waitFor();
    await page.getByRole("row", { name: `City ${city} city` }).waitFor();
}

async function askSql(page) {
    await goTo(page, "SQL");
    await page.getByRole("button", { name: "Contacts by lifecycle stage" }).click();
    await page.getByText(/^\d+ rows in /).waitFor();
    await page.getByRole("columnheader", { name: "stage" }).waitFor();
    await page.getByRole("img", { name: /contacts by stage/ }).waitFor();
}

async function seeWhySyncStopped(page) {
    await simulator.fail({ fault: "unknown_token" });
    await goTo(page, "Overview");
    await card(page).getByRole("button", { name: "Sync now" }).click();
    const item = wrong(page).getByRole("listitem").filter({ hasText: "unauthorized" }).first();
    // What HubSpot says, and what is to be done about it.
    await item.getByText(/^HubSpot, .+: status 401, HubSpot says: .*Authentication credentials not found/).waitFor();
    await item
        .getByText(
            "What to do: Put a valid token behind the credential reference: the worker reads it again at growing intervals, or at once when the connection is started.",
        )
        .waitFor();
    // It ends once HubSpot takes the token again.
    await simulator.heal();
    await card(page).getByRole("button", { name: "Start", exact: true }).click();
    await item.waitFor({ state: "detached" });
}
