# One stack: settings, pid files, logs, and the order of start and stop.
#
# It must not know how a server is configured.

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
    PIDS="$DATA_DIR/pids"
    LOGS="$DATA_DIR/logs"
    API="http://127.0.0.1:$API_PORT"
    REGISTRY="http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
    BIN="${CARGO_TARGET_DIR:-$ROOT/target}/release"
    DEMO=""
    [ -n "$HUBSPOT_ACCESS_TOKEN" ] || DEMO=yes
}

# When a process started, in clock ticks since boot: with the pid it names a
# process for good, since pids are used again.
started_at() { # pid
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# Pid of a running process of ours, or nothing.
pid_of() { # name
    local pid ticks
    [ -f "$PIDS/$1" ] || return 1
    read -r pid ticks <"$PIDS/$1"
    [ "$(started_at "$pid")" = "$ticks" ] && echo "$pid"
}

is_listening() { # port
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

launch() { # name port command...
    local name=$1 port=$2 pid
    shift 2
    pid_of "$name" >/dev/null && return
    if is_listening "$port"; then
        die "port $port, which $name needs, is in use by another program: end that, or choose another port (see .env.example)"
    fi
    # One older log is kept.
    if [ -f "$LOGS/$name.log" ] && [ "$(stat -c %s "$LOGS/$name.log")" -gt 52428800 ]; then
        mv "$LOGS/$name.log" "$LOGS/$name.log.1"
    fi
    setsid "$@" </dev/null >>"$LOGS/$name.log" 2>&1 &
    pid=$!
    echo "$pid $(started_at "$pid")" >"$PIDS/$name"
}

await() { # name what-to-run...
    local name=$1 deadline=$((SECONDS + 90))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! pid_of "$name" >/dev/null; then
            tail -n 20 "$LOGS/$name.log" >&2
            die "$name has ended while it started; its log: $LOGS/$name.log"
        fi
        [ $SECONDS -lt $deadline ] || die "$name does not answer within 90 s; its log: $LOGS/$name.log"
        sleep 0.2
    done
}

http_ok() { curl -fsS --max-time 2 -o /dev/null "$1"; }

# The same password at every start, readable by this user only.
writer_password() {
    local file="$DATA_DIR/clickhouse-writer-password"
    [ -s "$file" ] || (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$file")
    cat "$file"
}

start_servers() {
    launch kafka "$KAFKA_PORT" "$NATIVE/stack" run-kafka --data "$DATA_DIR/kafka" \
        --port "$KAFKA_PORT" --controller-port "$KAFKA_CONTROLLER_PORT"
    launch registry "$REGISTRY_PORT" "$NATIVE/stack" run-registry --data "$DATA_DIR/registry" \
        --port "$REGISTRY_PORT"
    launch clickhouse "$CLICKHOUSE_HTTP_PORT" "$NATIVE/stack" run-clickhouse \
        --data "$DATA_DIR/clickhouse" --port "$CLICKHOUSE_HTTP_PORT" \
        --tcp-port "$CLICKHOUSE_TCP_PORT" --writer-password "$(writer_password)"
    await clickhouse http_ok "http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/ping"
    await kafka is_listening "$KAFKA_PORT"
    await registry http_ok "$REGISTRY/subjects"
}

start_services() {
    local common=(
        KAFKA_BOOTSTRAP="127.0.0.1:$KAFKA_PORT" REGISTRY_URL="$REGISTRY"
    )
    if [ -n "$DEMO" ]; then
        HUBSPOT_ACCESS_TOKEN=demo-token
        HUBSPOT_BASE_URL="http://127.0.0.1:$SIM_PORT"
        launch hubspot-sim "$SIM_PORT" "$BIN/hubspot-sim" --listen "127.0.0.1:$SIM_PORT" \
            --contacts 20000 --companies 2000 --changes-per-second 2 --seed 1 \
            --token demo-token --state-dir "$DATA_DIR/sim"
        await hubspot-sim is_listening "$SIM_PORT"
    fi
    mkdir -p "$DATA_DIR/credentials"
    launch worker "$WORKER_ADMIN_PORT" env "${common[@]}" \
        ADMIN_ADDRESS="127.0.0.1:$WORKER_ADMIN_PORT" \
        HUBSPOT_ACCESS_TOKEN="$HUBSPOT_ACCESS_TOKEN" \
        HUBSPOT_BASE_URL="${HUBSPOT_BASE_URL:-https://api.hubapi.com}" \
        HUBSPOT_RATE_LIMIT="$HUBSPOT_RATE_LIMIT" HUBSPOT_SEARCH_LIMIT="$HUBSPOT_SEARCH_LIMIT" \
        CREDENTIALS_DIR="$DATA_DIR/credentials" "$BIN/worker"
    launch data-streams "$API_PORT" env "${common[@]}" -u HUBSPOT_ACCESS_TOKEN \
        API_ADDRESS="127.0.0.1:$API_PORT" \
        CLICKHOUSE_URL="http://127.0.0.1:$CLICKHOUSE_HTTP_PORT" CLICKHOUSE_USER=writer \
        CLICKHOUSE_PASSWORD="$(writer_password)" "$BIN/data-streams"
    await worker http_ok "http://127.0.0.1:$WORKER_ADMIN_PORT/health/ready"
    await data-streams http_ok "$API/health/ready"
}

api() { # method path [body]
    local arguments=(-sS --max-time 30 -X "$1" "$API$2" -H 'content-type: application/json')
    [ -z "${API_TOKEN:-}" ] || arguments+=(-H "authorization: Bearer $API_TOKEN")
    [ $# -lt 3 ] || arguments+=(-d "$3")
    curl "${arguments[@]}"
}

sql_as_reader() { # query
    curl -fsS --max-time 10 "http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/?user=reader&password=reader" -d "$1"
}

# A connection that exists is left as its user wants it: started or stopped.
start_first_sync() {
    api GET "/v1/connections/$CONNECTION" | grep -q '"code"' || return 0
    api POST "/v1/connections/$CONNECTION/start" '{}' >/dev/null
    say "first sync of connection $CONNECTION has started"
}

show_progress() {
    local destination=hubspot rows deadline=$((SECONDS + 600)) last=""
    [ "$CONNECTION" = default ] || destination="hubspot_$CONNECTION"
    until rows=$(sql_as_reader "SELECT count() FROM $destination.contacts" 2>/dev/null) && [ "${rows:-0}" -gt 0 ]; do
        if api GET "/v1/connections/$CONNECTION" 2>/dev/null | grep -q '"state":"stopped"'; then
            say "connection $CONNECTION is stopped; start it with: curl -X POST $API/v1/connections/$CONNECTION/start"
            return
        fi
        [ $SECONDS -lt $deadline ] || die "no rows yet; see: make status, make logs"
        sleep 1
    done
    for _ in $(seq 60); do
        rows=$(sql_as_reader "SELECT (SELECT count() FROM $destination.contacts_all), (SELECT count() FROM $destination.companies_all)" 2>/dev/null || true)
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
API            curl $API/v1/connections/$CONNECTION
API's docs     $API/docs
Records        curl '$API/v1/connections/$CONNECTION/records/contacts?limit=2&properties=email'
SQL page       http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/play   (user reader, password reader)
SQL            curl 'http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/?user=reader&password=reader' -d 'SELECT count() FROM $destination.contacts'
Kafka          127.0.0.1:$KAFKA_PORT, topic hubspot.records, registry $REGISTRY
Worker         http://127.0.0.1:$WORKER_ADMIN_PORT/metrics
END
}

up() {
    settings
    [ -z "$DEMO" ] || say "no HUBSPOT_ACCESS_TOKEN: this is a demo portal, simulated on this machine"
    install_servers
    (cd "$ROOT" && cargo build --release --bin worker --bin data-streams --bin hubspot-sim)
    mkdir -p "$PIDS" "$LOGS"
    start_servers
    start_services
    start_first_sync
    show_progress
    where_to_look
    [ -z "$DEMO" ] || say "this is a demo portal: set HUBSPOT_ACCESS_TOKEN in .env and run make clean-data up for your own"
}

end() { # name
    local pid deadline=$((SECONDS + 20))
    if pid=$(pid_of "$1"); then
        kill -TERM "$pid"
        while pid_of "$1" >/dev/null; do
            if [ $SECONDS -ge $deadline ]; then
                say "$1 has not ended 20 s after SIGTERM: killed"
                kill -KILL "$pid"
                deadline=$((SECONDS + 5))
            fi
            sleep 0.1
        done
        say "$1 stopped"
    fi
    rm -f "$PIDS/$1"
}

down() {
    settings
    local name
    for name in worker data-streams hubspot-sim registry kafka clickhouse; do end "$name"; done
}

status() {
    settings
    local name pid failed=0
    for name in kafka registry clickhouse hubspot-sim worker data-streams; do
        [ "$name$DEMO" = hubspot-sim ] && continue
        if pid=$(pid_of "$name"); then
            echo "$name: running, pid $pid, since $(ps -o lstart= -p "$pid")"
        elif [ -f "$PIDS/$name" ]; then
            echo "$name: died; the end of $LOGS/$name.log:"
            tail -n 5 "$LOGS/$name.log" | sed 's/^/    /'
            failed=1
        else
            echo "$name: stopped"
        fi
    done
    return $failed
}

logs() {
    settings
    tail -n 50 -F "$LOGS"/*.log
}

clean_data() {
    settings
    down
    rm -rf "$DATA_DIR"
}
