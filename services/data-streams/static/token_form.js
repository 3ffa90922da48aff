// The form that asks for the API token. The token stays in this tab's session storage and
// is gone when the tab is closed.

import { field, h, openDialog } from "./dom.js";

const KEY = "hubspot-streams.token";

/** The token that was entered in this tab; empty if none was. */
export function token() {
    return sessionStorage.getItem(KEY) ?? "";
}

let open = null;

/**
 * Asks for the token, once for all requests that want it. `refused` is the one that was
 * used; if another one has been entered meanwhile, nothing is asked.
 */
export async function askForToken(refused, why) {
    if (token() !== refused) return;
    open ??= ask(why).finally(() => (open = null));
    await open;
}

function ask(why) {
    return new Promise((resolve) => {
        const input = h("input", {
            type: "password",
            name: "token",
            required: true,
            autocomplete: "off",
            spellcheck: "false",
        });
        const form = h(
            "form",
            {
                class: "form",
                onsubmit: (event) => {
                    event.preventDefault();
                    sessionStorage.setItem(KEY, input.value.trim());
                    dialog.close();
                    resolve();
                },
            },
            why && h("p", { class: "bad", role: "alert" }, why),
            field("Token", input, "It is kept in this tab only, until the tab is closed."),
            h("div", { class: "actions" }, h("button", { class: "primary" }, "Continue")),
        );
        const dialog = openDialog(
            "The API asks for a token",
            h(
                "p",
                {},
                "It is the value of ",
                h("code", {}, "API_TOKEN"),
                " that data-streams was started with, or the token for reading.",
            ),
            form,
        );
        dialog.id = "token-form";
        // Without a token nothing can be shown, so there is nothing to go back to.
        dialog.addEventListener("cancel", (event) => event.preventDefault());
        input.focus();
    });
}
