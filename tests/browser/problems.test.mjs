// The page of problems.

import { api, inPage, ran, scenario, simulator } from "./support.mjs";

scenario("dead letters are shown with their reason, and are stored again by a click", async () => {
    await inPage({ path: "/problems" }, async (page) => {
        const letters = page.getByRole("region", { name: "Dead letters", exact: true });
        // A message that is no record was written to the log before the tests.
        await letters.getByRole("row").getByText("not_framed").first().waitFor();
        await letters.getByRole("button", { name: "Store what can be stored now" }).click();
        await letters.getByText(/^\d+ messages? stored\. 1 message still cannot be stored\.$/).waitFor();
    });
});

scenario("a stream that is skipped is shown with its scope", async () => {
    await simulator.fail({ fault: "refused", form: "forbidden" }, { object_type: "companies" });
    await inPage({ path: "/problems" }, async (page) => {
        await api.send("POST", "/v1/connections/default/sync", { streams: ["companies"] });
        const item = page.getByRole("listitem").filter({ hasText: "default, companies" });
        await item.getByText("crm.objects.companies.read").first().waitFor();
        await item.getByText("What to do:").first().waitFor();
    });
});

scenario("objects that HubSpot does not give are named", async () => {
    // One in the middle: those beside it tell where it is.
    const { results } = await api.get("/v1/connections/default/records/contacts?limit=300&properties=email");
    const id = Number(results[250].id);
    for (const kind of ["list", "list_archived", "batch_read"]) {
        await simulator.fail({ fault: "failing_objects", ids: [id], code: 500 }, { kind, object_type: "contacts" });
    }
    await ran("reconcile");
    await inPage({ path: "/problems" }, async (page) => {
        const objects = page.getByRole("region", { name: "Runs with unreadable objects" });
        await objects.getByText(String(id)).first().waitFor();
    });
    await simulator.heal();
    await ran("reconcile");
});
