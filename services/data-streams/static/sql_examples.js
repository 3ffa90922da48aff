// Questions to begin with, for the tables and columns that there are.

import { tableName } from "./words.js";

/** HubSpot's own lifecycle stages, in its order. */
const STAGES = [
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
];

/** The examples for a destination: title and query each. `of` is what titles end with. */
export function examples(destination, tables, of) {
    const has = (table, ...columns) => {
        const found = tables.find((it) => it.database === destination && it.table === table);
        return found && columns.every((name) => found.columns.some((it) => it.name === name));
    };
    const named = (table) => tableName(destination, table);
    const list = [];
    const add = (title, ...lines) => list.push({ title: `${title}${of}`, query: lines.join("\n") });
    if (has("contacts", "lifecyclestage")) {
        add(
            "Contacts by lifecycle stage",
            "-- HubSpot's stages in its order, then those of the account.",
            `WITH [${STAGES.map((it) => `'${it}'`).join(", ")}] AS stages`,
            "SELECT ifNull(lifecyclestage, 'none') AS stage, count() AS contacts",
            `FROM ${named("contacts")}`,
            "GROUP BY stage",
            "ORDER BY has(stages, stage) DESC, indexOf(stages, stage), contacts DESC",
        );
    }
    if (has("contacts", "associatedcompanyid") && has("companies", "name")) {
        add(
            "Companies by number of contacts",
            "SELECT companies.name AS company, companies._object_id AS company_id, count() AS contacts",
            `FROM ${named("contacts")} AS contacts`,
            `INNER JOIN ${named("companies")} AS companies`,
            "    ON companies._object_id = toUInt64(contacts.associatedcompanyid)",
            "GROUP BY company_id, company",
            "ORDER BY contacts DESC",
            "LIMIT 20",
        );
    }
    if (has("associations", "label")) {
        add(
            "Associations by label",
            "SELECT from_type, to_type, label, count() AS associations",
            `FROM ${named("associations")}`,
            "GROUP BY from_type, to_type, label",
            "ORDER BY associations DESC",
        );
    }
    for (const type of ["contacts", "companies", "deals"]) {
        if (!has(`${type}_history`, "_valid_from")) continue;
        add(
            `Changes of ${type} per day`,
            "SELECT toDate(_valid_from) AS day, count() AS versions",
            `FROM ${named(`${type}_history`)}`,
            "GROUP BY day",
            "ORDER BY day DESC",
            "LIMIT 30",
        );
    }
    if (has("contacts", "createdate")) {
        add(
            "New contacts per month",
            "SELECT toStartOfMonth(_created_at) AS month, count() AS contacts",
            `FROM ${named("contacts")}`,
            "GROUP BY month",
            "ORDER BY month DESC",
            "LIMIT 24",
        );
    }
    const known = ["firstname", "lastname", "email"].filter((it) => has("contacts", it));
    if (known.length > 0) {
        add(
            "Contacts that changed last",
            `SELECT ${["_object_id", ...known, "_updated_at"].join(", ")}`,
            `FROM ${named("contacts")}`,
            "ORDER BY _updated_at DESC",
            "LIMIT 20",
        );
    }
    const types = tables.filter((it) => it.database === destination && it.table.endsWith("_all"));
    if (types.length > 0) {
        const parts = types.map((it) =>
            [
                `SELECT '${it.table.slice(0, -4)}' AS type, countIf(NOT _archived AND NOT _deleted) AS live,`,
                `    countIf(_archived AND NOT _deleted) AS archived, countIf(_deleted) AS deleted FROM ${named(it.table)}`,
            ].join("\n"),
        );
        add("Records by type", parts.join("\nUNION ALL\n"), "ORDER BY type");
    }
    return list;
}
