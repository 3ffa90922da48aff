// Which properties a connection reads, as lines of text: `contacts: without a, b` or
// `contacts: only a, b`. A type without a line is read with all of them.

const LINE = /^([^\s:]+)\s*:\s*(only|without)\s+(.+)$/;

/** The lines for `properties` of the API. */
export function toLines(properties) {
    const lines = Object.entries(properties ?? {}).map(([type, selection]) => {
        const [word, names] = selection.include ? ["only", selection.include] : ["without", selection.exclude ?? []];
        return `${type}: ${word} ${names.join(", ")}`;
    });
    return lines.join("\n");
}

/** `properties` of the API for the lines; an Error names a line that cannot be read. */
export function fromLines(text) {
    const properties = {};
    for (const [index, line] of text.split("\n").entries()) {
        if (!line.trim()) continue;
        const [, type, word, list] = LINE.exec(line.trim()) ?? [];
        const names = (list ?? "").split(",").map((it) => it.trim()).filter(Boolean);
        if (names.length === 0) {
            throw new Error(`Properties, line ${index + 1}: write it as “contacts: without name, name” or “contacts: only name, name”.`);
        }
        if (type in properties) throw new Error(`Properties, line ${index + 1}: ${type} has a line already.`);
        properties[type] = { [word === "only" ? "include" : "exclude"]: names };
    }
    return properties;
}
