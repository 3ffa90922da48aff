// What ClickHouse's tables have: columns with types and comments, which are HubSpot's
// labels and descriptions.

import { rows } from "./api.js";

const known = new Map();

/** The columns of an object type: name, type, label, description. Read once a minute. */
export async function columnsOf(destination, table, signal) {
    const key = `${destination}.${table}`;
    const kept = known.get(key);
    if (kept && Date.now() - kept.at < 60_000 && kept.columns.length > 0) return kept.columns;
    const query =
        "SELECT name, type, comment FROM system.columns " +
        "WHERE database = {database:String} AND table = {table:String} ORDER BY position";
    const found = await rows(query, { database: destination, table }, { limit: 10_000, signal });
    const columns = found.map((it) => ({ ...it, ...labelled(it) }));
    known.set(key, { at: Date.now(), columns });
    return columns;
}

/** The tables of databases, each with its columns. */
export async function tablesOf(databases, signal) {
    const query =
        "SELECT database, table, name, type, comment FROM system.columns " +
        "WHERE has(splitByChar(',', {databases:String}), database) ORDER BY database, table, position";
    // A parameter is a text; names of databases have no comma.
    const found = await rows(query, { databases: databases.join() }, { limit: 10_000, signal });
    const tables = new Map();
    for (const it of found) {
        const name = `${it.database}.${it.table}`;
        if (!tables.has(name)) tables.set(name, { database: it.database, table: it.table, columns: [] });
        tables.get(name).columns.push({ ...it, ...labelled(it) });
    }
    return [...tables.values()];
}

/** A comment is the label, then a colon and the description if there is one. */
function labelled({ name, comment }) {
    const [label, ...rest] = comment.split(": ");
    return { label: label || name, description: rest.join(": ") };
}
