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

if command -v cargo-deny >/dev/null; then
    cargo deny --config infra/deny.toml --offline check bans licenses sources
    cargo deny --config infra/deny.toml check advisories ||
        echo "advisories: their database could not be reached or an advisory applies; see above"
else
    echo "dependency policy: not checked, cargo-deny is not installed (make tools)"
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
