// Starts the dashboard: shows the page that the address names, and follows the
// connections for as long as it is open.

import { data } from "./data.js";
import { announce, h, update } from "./dom.js";
import { follow, live, watch } from "./live.js";
import { overview } from "./overview.js";
import { problems } from "./problems.js";
import { record } from "./record.js";
import { runs } from "./runs.js";
import { sql } from "./sql.js";
import { when } from "./words.js";

/** Addresses, each with its page and title. */
const PAGES = [
    [/^\/$/, overview, "Overview"],
    [/^\/runs$/, runs, "Runs"],
    [/^\/data$/, data, "Data"],
    [/^\/data\/([^/]+)\/([^/]+)\/([^/]+)$/, record, "Record"],
    [/^\/sql$/, sql, "SQL"],
    [/^\/problems$/, problems, "Problems"],
];

const main = document.getElementById("main");
let leave = new AbortController();

/** Shows the page of the address. */
function show(isFirst) {
    leave.abort();
    leave = new AbortController();
    const url = new URL(location.href);
    const [page, title, params] = find(url.pathname);
    document.title = `${title} · HubSpot streams`;
    for (const link of document.querySelectorAll("#pages a")) {
        const at = link.getAttribute("href");
        const isHere = at === url.pathname || (at !== "/" && url.pathname.startsWith(`${at}/`));
        if (isHere) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
    const root = h("div", { class: "page" });
    main.replaceChildren(root);
    page(root, { url, params, signal: leave.signal, replace, go });
    if (isFirst) return;
    window.scrollTo(0, 0);
    root.querySelector("h1")?.focus({ preventScroll: true });
    announce(title);
}

function find(pathname) {
    for (const [pattern, page, title] of PAGES) {
        const found = pattern.exec(pathname);
        if (found) return [page, title, found.slice(1).map(decodeURIComponent)];
    }
    return [missing, "No such page", []];
}

function missing(root) {
    root.append(h("h1", { tabindex: "-1" }, "There is no such page"), h("p", {}, h("a", { href: "/" }, "Overview")));
}

/** Goes to another page. */
function go(address) {
    history.pushState(null, "", address);
    show(false);
}

/** Notes in the address what is chosen on a page, so that it can be kept and sent. */
function replace(pathname, chosen) {
    const pairs = Object.entries(chosen).filter(([, value]) => value);
    const query = new URLSearchParams(pairs).toString();
    history.replaceState(null, "", query ? `${pathname}?${query}` : pathname);
}

document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || link.target || link.hasAttribute("download") || event.defaultPrevented) return;
    const url = new URL(link.href);
    const isPage = url.origin === location.origin && PAGES.some(([pattern]) => pattern.test(url.pathname));
    // A link inside the page, such as the one to its main part, is the browser's.
    if (!isPage || link.getAttribute("href").startsWith("#")) return;
    event.preventDefault();
    go(url.pathname + url.search);
});
window.addEventListener("popstate", () => show(false));

/** Says in the head whether what is shown is up to date. */
function showConnection() {
    const state = document.getElementById("connection");
    const isLost = live.lostAt !== null;
    const text = isLost ? `Not connected since ${when(live.lostAt)}: ${live.why}. Trying again …` : live.connections ? "Live" : "Connecting …";
    document.body.classList.toggle("lost", isLost);
    state.className = isLost ? "lost" : live.connections ? "live" : "";
    update(state, text);
}

watch(new AbortController().signal, showConnection);
show(true);
follow();
