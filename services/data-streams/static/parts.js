// Parts that several pages show: states, bars, errors.

import { h } from "./dom.js";
import { sentence } from "./words.js";

/** A state as a coloured word. */
export function tag(state) {
    return h("span", { class: `tag ${state.replaceAll(" ", "-")}` }, state);
}

/** A bar that shows a share. */
export function bar(label, value, of, words) {
    const share = of > 0 ? Math.min(1, value / of) : 0;
    return h(
        "div",
        {
            class: "bar",
            role: "progressbar",
            "aria-label": label,
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuenow": String(Math.floor(share * 100)),
            "aria-valuetext": words,
        },
        h("span", { style: { width: `${share * 100}%` } }),
    );
}

/** An error with its advice. */
export function problem(error) {
    return h(
        "div",
        { class: "problem" },
        h("p", {}, sentence(error.message)),
        h("p", {}, h("span", { class: "do" }, "What to do: "), sentence(error.advice), " ", h("code", {}, error.code)),
    );
}
