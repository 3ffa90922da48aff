// Makes elements, and brings a part of the page up to date without replacing what has
// not changed, so that focus, selection and open details stay.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Attributes that begin with `on` are handlers, `style` is an object of CSS
 * properties, and what is false, null or undefined is left out.
 */
export function h(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) node[name] = value;
        else if (name === "style") set(node, value);
        else if (name === "value" && "value" in node) node.value = value;
        else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter(isShown));
    return node;
}

const isShown = (child) => child !== null && child !== undefined && child !== false;

// The policy of the page forbids the attribute, but not this.
function set(node, properties) {
    for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
}

/** Makes the children of `parent` these, and keeps each node that can stay. */
export function update(parent, ...children) {
    const wanted = children
        .flat(Infinity)
        .filter(isShown)
        .map((child) => (child instanceof Node ? child : document.createTextNode(child)));
    const keyed = new Map();
    for (const node of parent.childNodes) if (keyOf(node)) keyed.set(keyOf(node), node);
    let next = parent.firstChild;
    for (const child of wanted) {
        const key = keyOf(child);
        const old = key ? keyed.get(key) : keyOf(next) ? null : next;
        if (!old || !isSame(old, child)) {
            parent.insertBefore(child, next);
            continue;
        }
        if (old === next) next = next.nextSibling;
        else parent.insertBefore(old, next);
        patch(old, child);
    }
    while (next) {
        const after = next.nextSibling;
        next.remove();
        next = after;
    }
}

const keyOf = (node) => node?.getAttribute?.("data-key") ?? null;

const isSame = (old, wanted) => old.nodeName === wanted.nodeName && keyOf(old) === keyOf(wanted);

const HANDLERS = ["onclick", "onsubmit", "onchange", "oninput", "onkeydown"];

function patch(old, wanted) {
    if (old === wanted) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
        if (old.data !== wanted.data) old.data = wanted.data;
        return;
    }
    for (const { name } of [...old.attributes]) {
        // A person opened it.
        if (name === "open" && old.nodeName === "DETAILS") continue;
        if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of wanted.attributes) {
        if (name === "style") continue;
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    if (wanted.style?.length) old.style.cssText = wanted.style.cssText;
    for (const name of HANDLERS) old[name] = wanted[name];
    update(old, ...wanted.childNodes);
}

/** A table that can be scrolled by itself, also with the keyboard, where it is too wide. */
export function table(label, headings, rows) {
    const cell = (tag, content, heading, more) =>
        h(tag, { class: heading?.number ? "number" : null, ...more }, content);
    const head = headings.map((it) => cell("th", it.text, it, { scope: "col" }));
    const body = rows.map((row) =>
        h("tr", { "data-key": row.key }, row.cells.map((it, index) => cell("td", it, headings[index]))),
    );
    return h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
        h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
    );
}

/** A field with its label, and a hint below it. */
export function field(label, control, hint) {
    const id = control.id || `field-${(field.count = (field.count ?? 0) + 1)}`;
    control.id = id;
    if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
    return h(
        "div",
        { class: "field" },
        h("label", { for: id }, label),
        control,
        hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    );
}

/** Options of a choice. */
export function options(values, chosen) {
    return values.map((it) => {
        const [value, text] = Array.isArray(it) ? it : [it, it];
        return h("option", { value, selected: value === chosen }, text);
    });
}

/** Opens a dialog with a heading; it is gone once it is closed, which `Escape` does too. */
export function openDialog(title, ...content) {
    const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, content);
    document.body.append(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
    return dialog;
}

/** Says something to a screen reader. */
export function announce(text) {
    document.getElementById("announcer").textContent = text;
}
