// Numbers, times and durations as people read them.

/** A number with separators; nothing for one that is not known. */
export function number(value) {
    return value === null || value === undefined ? "" : Number(value).toLocaleString("en");
}

/** A count with its noun. */
export function count(value, one, many = `${one}s`) {
    return `${number(value)} ${value === 1 ? one : many}`;
}

/** A duration in its largest unit, such as "12 min". */
export function duration(ms) {
    const seconds = Math.max(0, ms) / 1000;
    if (seconds < 1) return `${Math.round(ms)} ms`;
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
    if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86_400)} days`;
}

const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 };

/** An interval of the settings, such as 1h30m, in ms. */
export function milliseconds(interval) {
    return [...interval.matchAll(/(\d+)([dhms])/g)].reduce((sum, [, number, unit]) => sum + number * UNITS[unit], 0);
}

/** How long ago a time was, or how far ahead it is. */
export function ago(time, now = Date.now()) {
    const passed = now - new Date(time).getTime();
    if (Math.abs(passed) < 5_000) return "just now";
    const words = roughly(Math.abs(passed));
    return passed > 0 ? `${words} ago` : `in ${words}`;
}

// Whole seconds by fives, so that the page is not in motion all the time.
function roughly(ms) {
    return ms < 90_000 ? `${Math.round(ms / 5_000) * 5} s` : duration(ms);
}

/** A time of the day today, otherwise with its date. */
export function when(time) {
    if (!time) return "";
    const at = new Date(time);
    const isToday = at.toDateString() === new Date().toDateString();
    return isToday ? at.toLocaleTimeString("en-GB") : dateTime(at);
}

/** A date with its time, to the second. */
export function dateTime(time) {
    if (!time) return "";
    const at = new Date(time);
    const two = (value) => String(value).padStart(2, "0");
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${at.toLocaleTimeString("en-GB")}`;
}

/** The last verdict of a stream in words. */
export function verdict(it, now) {
    const found = it.still_different
        ? `${number(it.still_different)} or more differ`
        : it.in_hubspot === it.in_warehouse
          ? "all equal"
          : "no difference found";
    return `${number(it.in_warehouse)} of ${number(it.in_hubspot)}, ${found}, ${ago(it.at, now)}`;
}

/** What a phase means. */
export const PHASES = {
    backfill: "reads everything for the first time",
    incremental: "reads what has changed",
    idle: "waits for the next run",
    waiting: "waits after a failure, then tries again",
    stopped: "does nothing until it is started",
    skipped: "is left out, because HubSpot refuses it",
    failed: "has ended with an error",
};

/** What a reason of a run means. */
export const REASONS = {
    backfill: "first read of everything",
    incremental: "what has changed",
    requested: "asked for by a person",
    late: "changes that search showed late",
    archived: "the archived list",
    full: "all records compared",
    confirm: "deletions confirmed by a person",
};

/** A text as an identifier of ClickHouse. */
export function identifier(name) {
    return "`" + name.replaceAll("\\", "\\\\").replaceAll("`", "\\`") + "`";
}

/** A table as ClickHouse reads it: quoted where its name needs it. */
export function tableName(database, table) {
    const isPlain = /^[A-Za-z_][A-Za-z0-9_]*$/;
    return [database, table].map((it) => (isPlain.test(it) ? it : identifier(it))).join(".");
}

/** A value of a record or a row as text. */
export function value(it) {
    if (it === null || it === undefined) return "";
    return typeof it === "object" ? JSON.stringify(it) : String(it);
}

/** A text as a sentence. */
export function sentence(text) {
    const trimmed = text.trim();
    if (!trimmed) return "";
    return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** What people call a record. */
export function nameOf({ id, properties }) {
    const person = [properties.firstname, properties.lastname].filter(Boolean).join(" ");
    return person || properties.name || properties.dealname || properties.subject || properties.email || id;
}

/** Stands between the two object types in the name of a stream of associations. */
export const ASSOCIATED = ">";
