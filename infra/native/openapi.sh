# What is made from the API's own document: a client in Python and one in TypeScript, each
# with one flow over it, and requests that search for answers that the document does not
# have. Nothing generated is kept.
#
# It must not know how the API was started. Its token is in API_TOKEN.

OPENAPI="$ROOT/tests/openapi"

openapi_python_home() { cached openapi-python "$OPENAPI/requirements.txt"; }
openapi_node_home() { cached openapi-node "$OPENAPI/package.json" "$OPENAPI/package-lock.json"; }

install_openapi_python() { install_venv "$1" "$OPENAPI/requirements.txt"; }

install_openapi_node() {
    cp "$OPENAPI"/package*.json "$1/"
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts)
}

# Makes a folder for what is generated, which goes when the command ends, and puts the
# document there.
generated() { # url
    [ -n "${API_TOKEN:-}" ] || die "set API_TOKEN to the token of the API"
    GENERATED=$(mktemp -d)
    trap 'rm -rf "$GENERATED"' EXIT
    curl -fsS -H @- "$1/openapi.json" -o "$GENERATED/openapi.json" \
        <<<"Authorization: Bearer $API_TOKEN"
    cd "$GENERATED"
}

python_client() { # url contacts
    local python
    install_once "$(openapi_python_home)" install_openapi_python
    python="$(openapi_python_home)/bin/python3"
    generated "$1"
    cp "$OPENAPI/flow.py" .
    "$python" -m openapi_python_client generate --path openapi.json --meta none \
        --output-path hubspot_streams --config "$OPENAPI/generator.yaml" --fail-on-warning
    "$python" -m mypy --strict hubspot_streams flow.py
    "$python" flow.py "$@"
}

typescript_client() { # url contacts
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
        die "Node 20.19 or newer is missing: the generator of the TypeScript client needs it"
    install_once "$(openapi_node_home)" install_openapi_node
    generated "$1"
    cp "$OPENAPI"/{flow.ts,openapi-ts.config.mjs,package.json,tsconfig.json} .
    ln -s "$(openapi_node_home)/node_modules" .
    node node_modules/.bin/openapi-ts
    # Writes nothing if a type is wrong.
    node node_modules/.bin/tsc --noEmitOnError
    node compiled/flow.js "$@"
}

search_wrong_answers() { # url arguments...
    local python url=$1
    shift
    install_once "$(openapi_python_home)" install_openapi_python
    python="$(openapi_python_home)/bin/python3"
    generated "$url"
    # A script's first line names the folder before it was moved, so Python is called with it.
    "$python" "$(dirname "$python")/schemathesis" --config-file "$OPENAPI/schemathesis.toml" \
        run openapi.json --url "$url" "$@"
}
