// Each action of the overview, by clicks.

import assert from "node:assert/strict";

import { api, card, eventually, inPage, ran, scenario, simulator, stream, withoutWorker } from "./support.mjs";

scenario("sync, reconcile, stop and start say when they are done", async () => {
    await inPage({}, async (page) => {
        const click = (name) => card(page).getByRole("button", { name, exact: true }).click();
        const says = (text) => card(page).getByText(text).waitFor();
        await click("Sync now");
        await says("The sync is done.");
        await click("Sync companies");
        await says("The sync of companies is done.");
        await click("Reconcile companies");
        await says("The reconciliation of companies is done.");
        await stream(page, "companies").getByText(/^[\d,]+ of [\d,]+, all equal, /).waitFor();
        await click("Reconcile");
        await says("The reconciliation is done.");
        await click("Stop");
        await says(/^Stopped at /);
        // On a stopped connection a sync does that run, and the connection stays stopped.
        await click("Sync contacts");
        await says("The sync of contacts is done.");
        assert.equal((await api.get("/v1/connections/default")).state, "stopped");
        await click("Start");
        await says("Started: the worker has taken it.");
        await card(page).locator(".states .tag.running").waitFor();
    });
});

scenario("a stop that the worker does not acknowledge in time says so, and when it has", async () => {
    await inPage({}, async (page) => {
        await withoutWorker(async (start) => {
            await card(page).getByRole("button", { name: "Stop", exact: true }).click();
            await card(page).getByText("The stop is accepted, but the worker has not acknowledged it yet").waitFor();
            assert.equal(await card(page).getByText(/^Stopped at /).count(), 0);
            await start();
            await card(page).getByText(/^Stopped at /).waitFor();
        });

        const superseded = { code: "superseded", detail: "a later command replaced this one", status: 409 };
        await card(page).getByRole("button", { name: "Start", exact: true }).click();
        await card(page).getByText("Started: the worker has taken it.").waitFor();
        await page.route("**/stop", (route) => route.fulfill({ status: 409, json: superseded }));
        await card(page).getByRole("button", { name: "Stop", exact: true }).click();
        await card(page).getByText("Somebody gave a later command, which holds.").waitFor();
    });
});

scenario("settings are changed, refused values are named, and another person's change is not undone", async () => {
    await inPage({}, async (page) => {
        const dialog = page.getByRole("dialog");
        const save = () => dialog.getByRole("button", { name: "Save" }).click();
        await card(page).getByRole("button", { name: "Edit" }).click();
        await dialog.getByLabel("Interval").fill("9s");
        await save();
        await dialog.getByRole("alert").getByText("interval").waitFor();
        await dialog.getByLabel("Interval").fill("45m");
        await save();
        await dialog.waitFor({ state: "detached" });
        await card(page).getByText("45m").waitFor();
        await card(page).getByText("The settings are changed: the worker has taken them.").waitFor();

        await card(page).getByRole("button", { name: "Edit" }).click();
        await api.send("PATCH", "/v1/connections/default", { interval: "50m" });
        await dialog.getByLabel("Interval").fill("55m");
        await save();
        await dialog.getByText("Somebody has changed this connection").waitFor();
        assert.equal((await api.get("/v1/connections/default")).interval, "50m");
        await dialog.getByRole("button", { name: "Show the settings as they are now" }).click();
        await eventually("the form has them", async () => (await dialog.getByLabel("Interval").inputValue()) === "50m");
        await dialog.getByLabel("Interval").fill("1h");
        await save();
        await dialog.waitFor({ state: "detached" });
        await card(page).getByText("1h").waitFor();
    });
});

scenario("streams are added and removed", async () => {
    await inPage({}, async (page) => {
        const dialog = page.getByRole("dialog");
        await card(page).getByRole("button", { name: "Edit" }).click();
        await dialog.getByLabel("companies").uncheck();
        await dialog.getByRole("button", { name: "Save" }).click();
        await stream(page, "companies").waitFor({ state: "detached" });
        await card(page).getByRole("button", { name: "Edit" }).click();
        await dialog.getByLabel("companies").check();
        await dialog.getByRole("button", { name: "Save" }).click();
        await stream(page, "companies").waitFor();
    });
});

scenario("passes and properties are set, and a line that cannot be read is named", async () => {
    const made = await api.send("PUT", "/v1/connections/chosen", {});
    assert.equal(made.status, 201);
    try {
        await setPassesAndProperties();
    } finally {
        await api.send("DELETE", "/v1/connections/chosen");
    }
});

async function setPassesAndProperties() {
    await inPage({}, async (page) => {
        const dialog = page.getByRole("dialog");
        const save = () => dialog.getByRole("button", { name: "Save" }).click();
        const open = async () => {
            await card(page, "chosen").getByRole("button", { name: "Edit" }).click();
            await dialog.getByText("Passes and properties").click();
        };
        await open();
        assert.equal(await dialog.getByLabel("Everything").inputValue(), "24h");
        await dialog.getByLabel("Everything").fill("never");
        await save();
        await dialog.getByRole("alert").getByText("reconcile.full").waitFor();
        await dialog.getByLabel("Everything").fill("12h");
        await dialog.getByLabel("Archived objects").fill("off");
        const properties = dialog.getByRole("textbox", { name: "Properties" });
        await properties.fill("contacts: without jobtitle, city\ncompanies name");
        await save();
        await dialog.getByRole("alert").getByText("Properties, line 2").waitFor();
        await properties.fill("contacts: without jobtitle, city\ncompanies: only name");
        await save();
        await dialog.waitFor({ state: "detached" });
        await open();
        assert.equal(await properties.inputValue(), "companies: only name\ncontacts: without city, jobtitle");
        await dialog.getByRole("button", { name: "Cancel" }).click();
    });
    const set = await api.get("/v1/connections/chosen");
    assert.deepEqual(set.reconcile, { late: "1h", archived: "off", full: "12h" });
    assert.deepEqual(set.properties, {
        contacts: { exclude: ["city", "jobtitle"] },
        companies: { include: ["name"] },
    });
}

scenario("a check shows what the credential may not read", async () => {
    await simulator.fail({ fault: "refused", form: "no_permission" }, { object_type: "companies" });
    await inPage({}, async (page) => {
        const dialog = page.getByRole("dialog");
        await card(page).getByRole("button", { name: "Check" }).click();
        await dialog.getByText("What is refused, and what it costs").waitFor();
        const companies = dialog.getByRole("row", { name: /^companies/ });
        assert.equal(await companies.getByText("no", { exact: false }).count(), 6);
        await dialog.getByText("missing_scope").first().waitFor();
        await dialog.getByRole("button", { name: "Close" }).click();
        await dialog.waitFor({ state: "detached" });
    });
});

scenario("a new connection whose credential is not there says so, and what to do", async () => {
    try {
        await inPage({}, async (page) => {
            const dialog = page.getByRole("dialog");
            await card(page).waitFor();
            await page.getByRole("button", { name: "New connection" }).click();
            await dialog.getByLabel("Name", { exact: true }).fill("lost");
            await dialog.getByLabel("Credential", { exact: true }).fill("env:HUBSPOT_SURELY_NOT_SET");
            await dialog.getByRole("button", { name: "Create and check" }).click();
            await dialog.getByText("The account cannot be read.").waitFor();
            await dialog.getByText("credential_missing").waitFor();
            await dialog.getByText(/Set the variable, or create the file in the credentials folder/).waitFor();
            // It can be started all the same, but that is not what the form proposes.
            const start = dialog.getByRole("button", { name: "Start", exact: true });
            assert.notEqual(await start.getAttribute("class"), "primary");
            await dialog.getByRole("button", { name: "Change and check again" }).waitFor();
            await dialog.getByRole("button", { name: "Close" }).click();
            await card(page, "lost").locator(".states .tag.stopped").waitFor();
        });
    } finally {
        await api.send("DELETE", "/v1/connections/lost");
    }
});

scenario("a connection is deleted only after a question, and its data only when its name is typed", async () => {
    const made = await api.send("PUT", "/v1/connections/spare", {});
    assert.equal(made.status, 201);
    await inPage({}, async (page) => {
        const dialog = page.getByRole("dialog");
        const open = () => card(page, "spare").getByRole("button", { name: "Delete" }).click();
        await open();
        await dialog.getByRole("button", { name: "Cancel" }).click();
        await card(page, "spare").waitFor();
        await open();
        await dialog.getByLabel("Drop its data too").check();
        await dialog.getByRole("button", { name: "Delete, and drop its data" }).click();
        await dialog.getByText("Type the name spare").waitFor();
        await dialog.getByLabel(/^Type spare/).fill("spare");
        await dialog.getByRole("button", { name: "Delete, and drop its data" }).click();
        await card(page, "spare").waitFor({ state: "detached" });
        await card(page).waitFor();
    });
    assert.equal((await api.send("GET", "/v1/connections/spare")).status, 404);
});

scenario("deletions that wait for a person are confirmed", async () => {
    // Nine of ten objects seem to be gone, which is not believed without a person.
    await simulator.fail({ fault: "partial_view", percent: 10, seed: 1 }, { object_type: "contacts" });
    await inPage({}, async (page) => {
        await card(page).getByRole("button", { name: "Reconcile contacts" }).click();
        const confirm = card(page).getByRole("button", { name: "Confirm the deletions of contacts" });
        await confirm.waitFor();
        await page.getByText("Deletions wait for a person").waitFor();
        // They are read again before they are deleted: none is gone.
        await simulator.heal();
        await confirm.click();
        await card(page).getByText("The deletions are confirmed").waitFor();
        await confirm.waitFor({ state: "detached" });
    });
    // The next pass sees all of them again.
    await ran("reconcile");
});
