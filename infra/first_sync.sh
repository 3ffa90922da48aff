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
    : "${MONITORING:=}" "${PROMETHEUS_PORT:=9090}" "${GRAFANA_PORT:=3000}"
    : "${HUBSPOT_ACCESS_TOKEN:=}" "${HUBSPOT_RATE_LIMIT:=auto}" "${HUBSPOT_SEARCH_LIMIT:=auto}"
    case "$DATA_DIR" in /*) ;; *) DATA_DIR="$ROOT/$DATA_DIR" ;; esac
    API="http://127.0.0.1:$API_PORT"
    REGISTRY="http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
    DEMO=""
    [ -n "$HUBSPOT_ACCESS_TOKEN${HUBSPOT_ACCESS_TOKEN_FILE:-}" ] || DEMO=yes
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
# checks whether success is still possible, and 1 after 300 s: a busy machine starts slowly.
answers() { # other what-to-run...
    local other=$1 deadline=$((SECONDS + 300))
    shift
    until "$@" >/dev/null 2>&1; do
        $other >/dev/null || return 2
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

# The password of a user of ClickHouse: the same at every start, readable by this user
# only.
kept_password() { # user
    local file="$DATA_DIR/clickhouse-$1-password"
    [ -s "$file" ] || (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$file")
    cat "$file"
}

writer_password() { kept_password writer; }

# The setting wins; the file has what is used, for those who read it there.
reader_password() {
    local file="$DATA_DIR/clickhouse-reader-password"
    if [ -n "${CLICKHOUSE_READER_PASSWORD:-}" ] &&
        [ "$CLICKHOUSE_READER_PASSWORD" != "$(cat "$file" 2>/dev/null)" ]; then
        rm -f "$file"
        (umask 077 && echo "$CLICKHOUSE_READER_PASSWORD" >"$file")
    fi
    kept_password reader
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
    local headers=('content-type: application/json') token=${API_TOKEN:-}
    [ -z "${API_TOKEN_FILE:-}" ] || token=$(cat "$API_TOKEN_FILE")
    [ -z "$token" ] || headers+=("authorization: Bearer $token")
    # 22: the answer is an error, which the caller reads.
    request 30 "$1" "$API$2" "${3:-}" "${headers[@]}" || [ $? = 22 ]
}

# The header that an example needs if the API has a token; names the variable, so
# that the token is not printed.
token_header() {
    # shellcheck disable=SC2016
    [ -z "${API_TOKEN:-}" ] || echo ' -H "Authorization: Bearer $API_TOKEN"'
    # shellcheck disable=SC2016
    [ -z "${API_TOKEN_FILE:-}" ] || echo ' -H "Authorization: Bearer $(cat "$API_TOKEN_FILE")"'
}

sql_as_reader() { # query
    request 10 POST "http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/" "$1" \
        'X-ClickHouse-User: reader' "X-ClickHouse-Key: $(reader_password)"
}

# One line for the connection and one for each of its streams.
connection_lines() {
    api GET "/v1/connections/$CONNECTION" | sed 's/,"streams":\[/\n/; s/},{"name":/}\n{"name":/g'
}

# The last text of that name in a line of JSON; nothing where it is null.
text() { # name, line
    sed -n 's/.*"'"$1"'":"\(\([^"\\]\|\\.\)*\)".*/\1/p' <<<"$2" | sed 's/\\\(.\)/\1/g'
}

# What went wrong and what to do about it; nothing where there is no error.
error_of() { # line
    [ -z "$(text message "$1")" ] || echo "$(text message "$1"); $(text advice "$1")"
}

# Creates the connection, or starts it again if it has failed. Changes no other one:
# its user may have stopped it.
start_first_sync() {
    local lines
    lines=$(connection_lines)
    case "$lines" in
        *'"code":"connection_not_found"'*) ;;
        *'"state":"running","command_id"'*)
            read_connection "$lines"
            [ -n "$ENDED" ] || return 0
            ;;
        *) return 0 ;;
    esac
    api POST "/v1/connections/$CONNECTION/start" '{}' >/dev/null
    say "first sync of connection $CONNECTION has started"
}

# Reads a connection's lines. Sets
#   ENDED      why nothing more happens before somebody acts; empty while it goes on
#   SKIPPED    the same of single streams, while others go on
#   WAITS_FOR  what it waits for, and when it tries again
#   RAN        not empty once a run of each stream that goes on has succeeded
#   STREAMS, DESTINATION
read_connection() { # lines
    local line error obeyed
    ENDED="" SKIPPED="" WAITS_FOR="" RAN="" STREAMS=()
    line=${1%%$'\n'*}
    DESTINATION=$(text destination "$line")
    error=$(error_of "$line") obeyed=$(text obeyed "$line")
    read_streams "$1" "$(text at "$line")"
    # What was reported before the last command says nothing about it.
    if [[ "$line" = *'"observed":null'* ]] ||
        [ "${obeyed:-$(text command_id "$line")}" != "$(text command_id "$line")" ]; then
        ENDED="" SKIPPED="" WAITS_FOR="the worker has not taken the connection yet"
        return
    fi
    case "$line" in
        # A worker tries a refused token again, in case HubSpot is wrong; at the first
        # sync the token is.
        *'"observed":{"state":"failed"'* | *'"code":"unauthorized"'*) ENDED=$error RAN="" ;;
        *'"observed":{"state":"starting"'*)
            WAITS_FOR="connection $CONNECTION: ${error:-an answer of HubSpot}"
            ;;
    esac
}

# When the error of a stream was reported; nothing where there is none.
error_at() { # line
    sed -n 's/.*"advice":"\(\([^"\\]\|\\.\)*\)","at":"\([^"]*\)".*/\3/p' <<<"$1"
}

read_streams() { # lines, when the connection has taken the last command
    local line name phase error at next goes_on=""
    while IFS= read -r line; do
        name=$(text name "$line") phase=$(text phase "$line") error=$(error_of "$line")
        [ -n "$name" ] || continue
        STREAMS+=("$name")
        # A stream refused before the last command is being tried again.
        at=$(error_at "$line")
        [[ -z "$at" || ! "$at" < "$2" ]] || phase=waiting
        case "$phase" in
            skipped | failed)
                SKIPPED+="${SKIPPED:+$'\n'}$name: $phase: $error"
                continue
                ;;
        esac
        [ -n "$goes_on" ] || RAN=yes
        goes_on=yes
        [[ "$line" != *'"last_success":null'* ]] || RAN=no
        next=$(text next_run "$line")
        WAITS_FOR+="$name: $phase${error:+: $error}${next:+; next run at $next}"$'\n'
    done < <(tail -n +2 <<<"$1")
    RAN=${RAN/no/}
    [ -n "$goes_on" ] || ENDED=$SKIPPED
}

# The rows of all streams, in words. Fails while none can be queried.
stored_rows() {
    local name rows all=0 words=""
    for name in "${STREAMS[@]}"; do
        rows=$(sql_as_reader "SELECT count() FROM \`$DESTINATION\`.\`${name}_all\`" 2>/dev/null) || continue
        all=$((all + rows)) words+="${words:+, }$name $rows"
    done
    echo "${words:-none}"
    [ $all -gt 0 ]
}

# Why data-streams is not ready, such as a ClickHouse that does not answer.
not_ready() {
    request 5 GET "$API/health/ready" "" 2>/dev/null | sed -n 's/.*"failures":{\(.*\)}.*/\1/p'
}

# Prints a text to standard error, unless it is empty or was the last one.
say_once() { # text
    [ -z "$1" ] || [ "$1" = "$SAID" ] || say "$1"
    SAID=$1
}

# Waits until rows can be queried. Says what it waits for, and ends with an error once
# the status says that nothing more happens before somebody acts.
show_progress() {
    local lines rows reasons seen=0 deadline=$((SECONDS + 600)) last="" SAID=""
    while :; do
        lines=$(connection_lines) || lines=""
        case "$lines" in
            *'"state":"stopped","command_id"'*)
                say "connection $CONNECTION is stopped; start it with: curl$(token_header) -X POST $API/v1/connections/$CONNECTION/start"
                return
                ;;
            *'"command_id"'*)
                read_connection "$lines"
                rows=$(stored_rows) && break
                ;;
            *'"status":4'*) die "$API refuses requests: $(text detail "$lines")" ;;
            *) ENDED="" RAN="" WAITS_FOR="data-streams: $(text detail "$lines")" ;;
        esac
        [ -z "$RAN" ] || WAITS_FOR="ClickHouse, for the first rows"
        # Three times: a stream may be about to leave its state, rows may be on the way.
        if [ -z "$ENDED$RAN" ]; then seen=0; else seen=$((seen + 1)); fi
        if [ -n "$ENDED" ] && [ $seen -ge 3 ]; then
            say "the first sync of connection $CONNECTION cannot succeed:"
            say "$ENDED"
            die "put that right, then: make down up (settings are read when a process starts)"
        fi
        reasons=$(not_ready)
        if [ -n "$RAN" ] && [ $seen -ge 5 ] && [ -z "$reasons" ]; then
            say "HubSpot has no records of: ${STREAMS[*]}"
            return
        fi
        reasons=${reasons:-${WAITS_FOR%$'\n'}}
        [ -n "$ENDED" ] || say_once "${reasons:+waiting: $reasons}"
        [ $SECONDS -lt $deadline ] ||
            die "no rows after 10 minutes${reasons:+: $reasons}; the sync goes on; see: make status, make logs"
        sleep 1
    done
    say_once "${ENDED:-$SKIPPED}"
    for _ in $(seq 60); do
        [ "$rows" != "$last" ] || break
        last=$rows
        say "stored so far: $rows"
        sleep 1
        rows=$(stored_rows) || rows=$last
    done
}

where_to_look() {
    local password
    password=$(reader_password)
    cat <<END

Dashboard      $API/
API            curl$(token_header) $API/v1/connections/$CONNECTION
API's docs     $API/docs
Records        curl$(token_header) '$API/v1/connections/$CONNECTION/records/contacts?limit=2&properties=email'
SQL page       http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/play   (user reader, password $password)
SQL            curl http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/ -u 'reader:$password' -d 'SELECT count() FROM ${DESTINATION:-hubspot}.contacts'
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
