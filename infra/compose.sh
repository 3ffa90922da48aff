#!/usr/bin/env bash
# The system in containers, with the same commands as the native stack.
set -euo pipefail

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

say() { echo "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# shellcheck source=ports.sh
. "$ROOT/infra/ports.sh"
# shellcheck source=first_sync.sh
. "$ROOT/infra/first_sync.sh"

compose() {
    local profile=()
    [ -z "$DEMO" ] || profile=(--profile demo)
    [ -z "$MONITORING" ] || profile+=(--profile monitoring)
    docker compose -f "$ROOT/infra/compose.yaml" "${profile[@]}" "$@"
}

# Also what an earlier start with other settings has started.
compose_down() {
    docker compose -f "$ROOT/infra/compose.yaml" --profile demo --profile monitoring down
}

# The configuration of Prometheus with this stack's ports, and the token with which it may
# read the API's metrics; the file is there without one, too.
prepare_monitoring() {
    local folder="$DATA_DIR/monitoring"
    mkdir -p "$folder"/{prometheus,grafana}
    sed "s,@WORKER_ADMIN_PORT@,$WORKER_ADMIN_PORT,; s,@API_PORT@,$API_PORT," \
        "$ROOT/infra/monitoring/prometheus.yaml" >"$folder/prometheus.yaml"
    # Written in place: the container has mounted the file itself.
    (umask 077 && echo "${API_READ_TOKEN:-${API_TOKEN:-}}" >"$folder/api-token")
}

prepare() {
    settings
    mkdir -p "$DATA_DIR"/{kafka,registry,clickhouse/store,sim,credentials}
    CLICKHOUSE_WRITER_PASSWORD=$(writer_password)
    CLICKHOUSE_READER_PASSWORD=$(reader_password)
    # The server reloads this file when it changes. Connections through the published
    # ports, which are on loopback, arrive from the bridge's address, so writer and
    # reader are allowed from any address.
    clickhouse_users "$CLICKHOUSE_WRITER_PASSWORD" "$CLICKHOUSE_READER_PASSWORD" \
        "$(reader_grants "$DATA_DIR/clickhouse/store" | tr -d '\n')" |
        sed '/<writer>/,/<\/reader>/ s|<ip>::1</ip>|<ip>::/0</ip>|' >"$DATA_DIR/clickhouse/users.xml"
    if [ -n "$DEMO" ]; then
        HUBSPOT_ACCESS_TOKEN=demo-token
        HUBSPOT_BASE_URL="http://127.0.0.1:$SIM_PORT"
    fi
    [ -z "$MONITORING" ] || prepare_monitoring
    GID=$(id -g)
    export CLICKHOUSE_READER_PASSWORD CLICKHOUSE_WRITER_PASSWORD DATA_DIR HUBSPOT_ACCESS_TOKEN GID UID
    export API_PORT KAFKA_PORT REGISTRY_PORT CLICKHOUSE_HTTP_PORT CLICKHOUSE_TCP_PORT
    export WORKER_ADMIN_PORT SIM_PORT HUBSPOT_RATE_LIMIT HUBSPOT_SEARCH_LIMIT
    export PROMETHEUS_PORT GRAFANA_PORT
    [ -z "${HUBSPOT_BASE_URL:-}" ] || export HUBSPOT_BASE_URL
}

# Whether the port of a setting is used by a container of this stack.
is_ours() { # setting
    local name
    name=$(process_of "$1")
    grep -qx "$name" <<<"$RUNNING"
}

await() { # name url
    answers true http_ok "$2/health/ready" || die "$1 is not ready; see: make status, make logs"
}

prepare
case "${1:-}" in
    up)
        command -v curl >/dev/null || command -v node >/dev/null ||
            die "neither curl nor node is on the PATH: install one of them"
        announce_demo
        RUNNING=$(compose ps --services --status running)
        check_ports is_ours
        compose up --build --detach
        await data-streams "$API"
        await worker "http://127.0.0.1:$WORKER_ADMIN_PORT"
        first_sync
        [ -z "$MONITORING" ] || say "Monitoring     http://127.0.0.1:$GRAFANA_PORT/ (dashboard), http://127.0.0.1:$PROMETHEUS_PORT/alerts"
        ;;
    down) compose_down ;;
    status) compose ps --all ;;
    logs) compose logs --follow --tail 50 ;;
    clean-data)
        compose_down
        rm -rf "$DATA_DIR"
        ;;
    *) die "up, down, status, logs or clean-data" ;;
esac
