#!/usr/bin/env bash
# Checks that are about the repository as a whole: who may import whom, the
# dependency policy, the compose file, the scripts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

depends() { # package dependency: whether the first needs the second
    cargo tree --quiet --package "$1" --edges normal --invert "$2" >/dev/null 2>&1
}

allowed() { depends "$1" "$2" || { echo "layering: $1 should need $2; is the check still right?" >&2; exit 1; }; }
forbidden() { if depends "$1" "$2"; then echo "layering: $1 must not need $2" >&2; exit 1; fi; }

# The contract does no I/O; each line that must fail has one that must not.
allowed worker tokio
forbidden schemas tokio
forbidden schemas chassis
allowed worker schemas
forbidden chassis schemas
forbidden worker data-streams
forbidden data-streams worker
allowed data-streams clickhouse
forbidden worker clickhouse
echo "layering: ok"

deny() { infra/native/stack tool cargo-deny --log-level error --config infra/deny.toml "$@"; }
# The policy covers every platform; a build has fetched those of this one.
cargo fetch --quiet --locked
deny --offline check bans licenses sources
# The database of advisories is not on every network.
if fetched=$(timeout 60 infra/native/stack tool cargo-deny --config infra/deny.toml fetch db 2>&1); then
    deny check --disable-fetch advisories
else
    echo "advisories: NOT checked, as their database could not be reached:" >&2
    tail -n 1 <<<"$fetched" >&2
fi

infra/native/stack tool shellcheck -x -P SCRIPTDIR \
    infra/check.sh infra/compose.sh infra/native/stack .ci/run
echo "scripts: ok"

# Where the plugin is there it also resolves the variables; it needs no engine.
infra/native/stack tool check-jsonschema --builtin-schema vendor.compose-spec infra/compose.yaml
if docker compose version >/dev/null 2>&1; then
    CLICKHOUSE_WRITER_PASSWORD=unused docker compose -f infra/compose.yaml --profile demo config --quiet
fi
echo "compose file: ok"
