#!/usr/bin/env bash
# Checks of the repository as a whole: who may import whom, the
# dependency policy, the compose file, the scripts, what is deployed.
#
#   check.sh        all of them
#   check.sh fast   those that need no installation, in about a second
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

depends() { # package dependency: whether the first needs the second
    cargo tree --quiet --offline --package "$1" --edges normal --invert "$2" >/dev/null 2>&1
}

allowed() { depends "$1" "$2" || { echo "layering: $1 should need $2; is the check still right?" >&2; exit 1; }; }
forbidden() { if depends "$1" "$2"; then echo "layering: $1 must not need $2" >&2; exit 1; fi; }

python3_11() {
    local candidate
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import tomllib' 2>/dev/null; then
            "$candidate" "$@"
            return
        fi
    done
    echo "Python 3.11 or newer is missing" >&2
    return 1
}

# Between crates. `schemas` does no I/O. Each kind of forbidden dependency has an
# allowed one beside it, which shows that the check works.
cargo fetch --quiet --locked
allowed worker tokio
forbidden schemas tokio
forbidden schemas chassis
allowed worker schemas
forbidden chassis schemas
forbidden worker data-streams
forbidden data-streams worker
allowed data-streams clickhouse
forbidden worker clickhouse
# Between the modules of a crate.
python3_11 infra/layering.py
echo "layering: ok"
[ "${1:-}" != fast ] || exit 0

tool() { infra/native/stack tool "$@"; }

tool cargo-shear --color never >/dev/null || { tool cargo-shear; exit 1; }
echo "unused dependencies: none"

deny() { tool cargo-deny --log-level error --config infra/deny.toml "$@"; }
deny --offline check bans licenses sources
# Not every network reaches the database of advisories.
if fetched=$(timeout 60 infra/native/stack tool cargo-deny --config infra/deny.toml fetch db 2>&1); then
    deny check --disable-fetch advisories
else
    echo "advisories: NOT checked, as their database could not be reached:" >&2
    tail -n 1 <<<"$fetched" >&2
fi

# What is compiled into the services is listed, and nothing else: one of each kind.
python3_11 infra/sbom.py | python3_11 -c '
import json, sys
names = {it["name"] for it in json.load(sys.stdin)["components"]}
assert {"worker", "data-streams", "rdkafka-sys"} <= names, "the bill of materials lacks a part"
assert not {"hubspot-sim", "proptest"} & names, "the bill of materials has what only tests use"
print(f"bill of materials: {len(names)} crates")'

tool shellcheck -x -P SCRIPTDIR \
    infra/check.sh infra/compose.sh infra/native/stack .ci/run
echo "scripts: ok"

# Docker's plugin, if installed, also resolves the variables; it needs no engine.
tool check-jsonschema --builtin-schema vendor.compose-spec infra/compose.yaml
if docker compose version >/dev/null 2>&1; then
    CLICKHOUSE_WRITER_PASSWORD=unused docker compose -f infra/compose.yaml --profile demo config --quiet
fi
echo "compose file: ok"

# The chart as Helm renders it, the alerts and the dashboard as Prometheus parses them.
code=0
infra/native/stack checks || code=$?
case "$code${CI:+ in CI}" in
    0*) echo "chart, alerts, dashboard: ok" ;;
    3) echo "chart, alerts, dashboard: NOT checked, as Go is missing; CI checks them" >&2 ;;
    *) exit 1 ;;
esac
