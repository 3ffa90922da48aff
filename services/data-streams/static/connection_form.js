// Connects an account in two steps: the settings, with which the connection is made but
// not started, and what its credential can read.

import { start } from "./actions.js";
import { call, path, Problem } from "./api.js";
import { check, checked } from "./check.js";
import { field, h, openDialog } from "./dom.js";
import { live } from "./live.js";
import { refusal, settingsFields } from "./settings_form.js";

const DEFAULTS = {
    credential: "env:HUBSPOT_ACCESS_TOKEN",
    streams: ["contacts", "companies"],
    interval: "5m",
};

/** Opens the form. */
export function openNewConnection() {
    const ended = new AbortController();
    const status = h("div", { role: "status" });
    const name = h("input", { name: "name", required: true, value: freeName(), autocomplete: "off", spellcheck: "false" });
    const credential = h("input", { name: "credential", value: DEFAULTS.credential, autocomplete: "off", spellcheck: "false" });
    const destination = h("input", { name: "destination", autocomplete: "off", spellcheck: "false" });
    const { fields, read } = settingsFields(DEFAULTS);
    const submit = h("button", { class: "primary" }, "Create and check");
    const startButton = h("button", { type: "button", class: "primary", hidden: true }, "Start");
    let made = null;

    const save = async (event) => {
        event.preventDefault();
        startButton.hidden = true;
        submit.disabled = true;
        try {
            const body = { ...read(), credential: credential.value.trim() };
            if (destination.value.trim()) body.destination = destination.value.trim();
            // A name that exists is not taken over, unless this form has made it.
            const terms = made ? { "if-match": made.etag } : { "if-none-match": "*" };
            made = (await call("PUT", path(name.value.trim()), { body, headers: terms })).body;
            name.readOnly = true;
            await showCheck();
        } catch (error) {
            if (!ended.signal.aborted) status.replaceChildren(taken(error, name.value) ?? refusal(error));
        }
        submit.disabled = false;
    };

    const showCheck = async () => {
        status.replaceChildren(h("p", {}, `The connection ${made.name} is made, stopped. The worker asks HubSpot what the credential can read …`));
        const body = await check(made.name, ended.signal, () =>
            status.replaceChildren(h("p", {}, "The worker has not answered yet. Does it run?")),
        );
        // A check is a command, which leaves the settings as they are.
        made = (await call("GET", path(made.name))).body;
        status.replaceChildren(...checked(body).filter(Boolean));
        submit.textContent = "Change and check again";
        startButton.hidden = false;
        startButton.className = body.error ? "" : "primary";
        startButton.focus();
    };

    startButton.onclick = () => {
        start(made.name);
        dialog.close();
    };

    const form = h(
        "form",
        { class: "form", novalidate: true, onsubmit: save },
        field("Name", name, "Small letters, digits and _, such as default or sales_emea."),
        field(
            "Credential",
            credential,
            "A reference that the worker resolves: env:HUBSPOT_… names a variable of the worker, file:NAME a file in its folder of credentials. Never the token itself.",
        ),
        fields,
        field("ClickHouse database", destination, "Left empty: hubspot for the connection default, otherwise hubspot_NAME."),
        status,
        h(
            "div",
            { class: "actions" },
            startButton,
            submit,
            h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
        ),
    );
    const dialog = openDialog("Connect an account", form);
    dialog.classList.add("wide");
    dialog.addEventListener("close", () => ended.abort());
    name.focus();
}

function freeName() {
    return live.connections?.some((it) => it.name === "default") ? "" : "default";
}

function taken(error, name) {
    if (!(error instanceof Problem) || error.status !== 412) return null;
    return h("p", { class: "bad" }, `There is a connection ${name}, or somebody has changed it meanwhile. Choose another name, or edit that one.`);
}
