# What the native and the compose stack share: settings, the first sync, addresses.
#
# It must not know how a process is started.

# Values from the environment win over those in .env.
settings() {
    local line name
    if [ -f "$ROOT/.env" ]; then
        while IFS= read -r line || [ -n "$line" ]; do
            case "$line" in '' | '#'*) continue ;; esac
            name=${line%%=*}
            [[ "$name" =~ ^[A-Z][A-Z0-9_]*$ ]] || die ".env: not a line NAME=value: ${name:0:40}"
            [ -n "${!name+set}" ] || export "$name=${line#*=}"
        done <"$ROOT/.env"
    fi
    : "${DATA_DIR:=.data}" "${CONNECTION:=default}" "${API_PORT:=8080}" "${KAFKA_PORT:=9092}"
    : "${REGISTRY_PORT:=8081}" "${CLICKHOUSE_HTTP_PORT:=8123}" "${CLICKHOUSE_TCP_PORT:=9000}"
    : "${WORKER_ADMIN_PORT:=9101}" "${SIM_PORT:=8089}" "${KAFKA_CONTROLLER_PORT:=$((KAFKA_PORT + 1))}"
    : "${HUBSPOT_ACCESS_TOKEN:=}" "${HUBSPOT_RATE_LIMIT:=auto}" "${HUBSPOT_SEARCH_LIMIT:=auto}"
    case "$DATA_DIR" in /*) ;; *) DATA_DIR="$ROOT/$DATA_DIR" ;; esac
    API="http://127.0.0.1:$API_PORT"
    REGISTRY="http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
    DEMO=""
    [ -n "$HUBSPOT_ACCESS_TOKEN" ] || DEMO=yes
}

# Sends a request and prints the answer's body. Returns 22 if the status is a
# failure. Uses curl if it is installed, otherwise Node, which the native stack needs
# anyway.
request() { # seconds method url body header...
    local seconds=$1 method=$2 url=$3 body=$4
    shift 4
    if command -v curl >/dev/null; then
        local code=0
        curl -s --fail-with-body --max-time "$seconds" -X "$method" "$url" \
            ${body:+--data-raw "$body"} "${@/#/-H}" || code=$?
        [ $code = 0 ] || [ $code = 22 ] || say "no answer from $url (curl ended with $code)"
        return $code
    fi
    node -e '
        const [seconds, method, url, body, ...lines] = process.argv.slice(1);
        const headers = lines.map((line) => line.split(": "));
        const signal = AbortSignal.timeout(1000 * seconds);
        fetch(url, { method, headers, body: body || undefined, signal }).then(
            async (answer) => {
                process.stdout.write(await answer.text());
                process.exitCode = answer.ok ? 0 : 22;
            },
            (error) => {
                console.error(`no answer from ${url} (${error.cause ?? error})`);
                process.exitCode = 7;
            },
        );
    ' "$seconds" "$method" "$url" "$body" "$@"
}

http_ok() { request 2 GET "$1" "" >/dev/null 2>&1; }

# Repeats a command until it succeeds. Returns 2 once the command `other` fails, which
# checks whether success is still possible, and 1 after 90 s.
answers() { # other what-to-run...
    local other=$1 deadline=$((SECONDS + 90))
    shift
    until "$@" >/dev/null 2>&1; do
        $other >/dev/null || return 2
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

# The same password at every start, readable by this user only.
writer_password() {
    local file="$DATA_DIR/clickhouse-writer-password"
    [ -s "$file" ] || (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$file")
    cat "$file"
}

# Prints users.xml with the hashes of the passwords and with further grants of the
# reader.
clickhouse_users() { # writer's password, reader's password, grants
    local writer reader
    writer=$(printf %s "$1" | sha256sum | cut -d' ' -f1)
    reader=$(printf %s "$2" | sha256sum | cut -d' ' -f1)
    sed -e "s,@WRITER@,$writer,g" -e "s,@READER@,$reader,g" \
        -e "s,<!-- @DESTINATIONS@ -->,$3," "$ROOT/infra/native/clickhouse/users.xml"
}

# The reader's grants beyond those in users.xml, for the databases that exist now.
# The native engine cannot store grants made by SQL and reads users.xml once, so
# databases that are created later get their grants at the next start: destinations
# of other names become readable, and the storage of hubspot_... is hidden.
reader_grants() { # folder of the store
    local file name
    for file in "$1"/metadata/*_raw.sql; do
        name=$(basename "$file" _raw.sql)
        [[ "$name" =~ ^[a-z][a-z0-9_]*$ ]] || continue
        echo "<query>GRANT SELECT ON ${name}.*</query>"
        echo "<query>REVOKE SELECT ON ${name}_raw.*</query>"
    done
}

api() { # method path [body]
    local headers=('content-type: application/json')
    [ -z "${API_TOKEN:-}" ] || headers+=("authorization: Bearer $API_TOKEN")
    # 22: the answer is an error, which the caller reads.
    request 30 "$1" "$API$2" "${3:-}" "${headers[@]}" || [ $? = 22 ]
}

# The header that an example needs if the API has a token; names the variable, so
# that the token is not printed.
token_header() {
    # shellcheck disable=SC2016
    [ -z "${API_TOKEN:-}" ] || echo ' -H "Authorization: Bearer $API_TOKEN"'
}

sql_as_reader() { # query
    request 10 POST "http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/?user=reader&password=reader" "$1"
}

# Does not change a connection that exists: its user may have stopped it.
start_first_sync() {
    api GET "/v1/connections/$CONNECTION" | grep -q '"code":"connection_not_found"' || return 0
    api POST "/v1/connections/$CONNECTION/start" '{}' >/dev/null
    say "first sync of connection $CONNECTION has started"
}

show_progress() {
    local destination=hubspot rows deadline=$((SECONDS + 600)) last=""
    [ "$CONNECTION" = default ] || destination="hubspot_$CONNECTION"
    until rows=$(sql_as_reader "SELECT count() FROM $destination.contacts" 2>/dev/null) && [ "${rows:-0}" -gt 0 ]; do
        if api GET "/v1/connections/$CONNECTION" 2>/dev/null | grep -q '"state":"stopped"'; then
            say "connection $CONNECTION is stopped; start it with: curl$(token_header) -X POST $API/v1/connections/$CONNECTION/start"
            return
        fi
        [ $SECONDS -lt $deadline ] || die "no rows yet; see: make status, make logs"
        sleep 1
    done
    for _ in $(seq 60); do
        rows=$(sql_as_reader "SELECT (SELECT count() FROM $destination.contacts_all), (SELECT count() FROM $destination.companies_all)" 2>/dev/null) || rows=""
        [ "$rows" = "$last" ] && [ -n "$rows" ] && break
        last=$rows
        [ -z "$rows" ] || say "stored so far: contacts and companies: $(echo "$rows" | tr '\t' ' ')"
        sleep 1
    done
}

where_to_look() {
    local destination=hubspot
    [ "$CONNECTION" = default ] || destination="hubspot_$CONNECTION"
    cat <<END

Dashboard      $API/
API            curl$(token_header) $API/v1/connections/$CONNECTION
API's docs     $API/docs
Records        curl$(token_header) '$API/v1/connections/$CONNECTION/records/contacts?limit=2&properties=email'
SQL page       http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/play   (user reader, password reader)
SQL            curl 'http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/?user=reader&password=reader' -d 'SELECT count() FROM $destination.contacts'
Kafka          127.0.0.1:$KAFKA_PORT, topic hubspot.records, registry $REGISTRY
Worker         http://127.0.0.1:$WORKER_ADMIN_PORT/metrics
END
}

announce_demo() {
    [ -z "$DEMO" ] || say "no HUBSPOT_ACCESS_TOKEN: this is a demo portal, simulated on this machine"
}

first_sync() {
    start_first_sync
    show_progress
    where_to_look
    [ -z "$DEMO" ] || say "this is a demo portal: set HUBSPOT_ACCESS_TOKEN in .env and run make clean-data up for your own"
}
