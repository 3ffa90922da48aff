// How other programs reach the same data.

import { h } from "./dom.js";

/** Commands and settings for programs that speak to ClickHouse. */
export function programs() {
    const host = location.hostname;
    const part = (title, ...content) => h("div", {}, h("h3", {}, title), content);
    return h(
        "details",
        { class: "card programs" },
        h("summary", {}, h("h2", {}, "With other programs")),
        h(
            "p",
            {},
            "Ask ClickHouse itself as the user ",
            h("code", {}, "reader"),
            ", whose password is CLICKHOUSE_READER_PASSWORD; without one, make up keeps it in the file clickhouse-reader-password of its data folder. 8123 is the port for HTTP and 9000 the native one, unless they were set otherwise.",
        ),
        part("clickhouse-client", h("pre", { tabindex: "0" }, `clickhouse-client --host ${host} --port 9000 --user reader --ask-password`)),
        part(
            "DBeaver",
            h("p", {}, "New connection, ClickHouse, with this URL and the user reader:"),
            h("pre", { tabindex: "0" }, `jdbc:clickhouse://${host}:8123/hubspot`),
        ),
        part(
            "Grafana",
            h("p", {}, "Data source ClickHouse (grafana-clickhouse-datasource):"),
            h("pre", { tabindex: "0" }, `host: ${host}\nport: 8123\nprotocol: http\nusername: reader\ndefaultDatabase: hubspot`),
        ),
        part(
            "dbt",
            h("p", {}, "A source in profiles.yml (dbt-clickhouse). Models need a user that may write, in a database of their own:"),
            h(
                "pre",
                { tabindex: "0" },
                [
                    "hubspot:",
                    "  target: dev",
                    "  outputs:",
                    "    dev:",
                    "      type: clickhouse",
                    `      host: ${host}`,
                    "      port: 8123",
                    "      user: YOUR_USER",
                    "      password: \"{{ env_var('CLICKHOUSE_PASSWORD') }}\"",
                    "      schema: analytics",
                ].join("\n"),
            ),
        ),
    );
}
