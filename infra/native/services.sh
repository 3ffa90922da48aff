# One stack: the build, pid files, logs, and the order of start and stop.

# Without link-time optimisation, which doubles the time to the first row.
PROFILE=quick

paths() {
    settings
    PIDS="$DATA_DIR/pids"
    LOGS="$DATA_DIR/logs"
    BIN="${CARGO_TARGET_DIR:-$ROOT/target}/$PROFILE"
}

# When a process started, in clock ticks since boot. Pids are reused, but pid and
# start together are unique. Prints nothing for a process that is ending.
started_at() { # pid
    sed -n 's/.*) \([^ZX] .*\)/\1/p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# Prints the pid of a process that this stack runs, or nothing.
pid_of() { # name
    local pid ticks
    [ -f "$PIDS/$1" ] || return 1
    read -r pid ticks <"$PIDS/$1"
    [ "$(started_at "$pid")" = "$ticks" ] && echo "$pid"
}

# A killed process keeps its files and ports for a moment.
wait_until_gone() { # name
    local pid _ deadline=$((SECONDS + 10))
    [ -f "$PIDS/$1" ] || return 0
    read -r pid _ <"$PIDS/$1"
    while grep -q '^State:.[ZX]' "/proc/$pid/status" 2>/dev/null && [ $SECONDS -lt $deadline ]; do
        sleep 0.1
    done
}

# Whether the port of a setting is used by a process of this stack.
is_ours() { # setting
    local name
    name=$(process_of "$1")
    pid_of "$name" >/dev/null && return
    wait_until_gone "$name"
    return 1
}

launch() { # name command...
    local name=$1 pid
    shift
    pid_of "$name" >/dev/null && return
    wait_until_gone "$name"
    # One older log is kept.
    if [ -f "$LOGS/$name.log" ] && [ "$(stat -c %s "$LOGS/$name.log")" -gt 52428800 ]; then
        mv "$LOGS/$name.log" "$LOGS/$name.log.1"
    fi
    # Closes the lock, which the process would otherwise hold until it ends.
    setsid "$@" </dev/null >>"$LOGS/$name.log" 2>&1 9>&- &
    pid=$!
    echo "$pid $(started_at "$pid")" >"$PIDS/$name"
}

await() { # name what-to-run...
    local name=$1 code=0
    shift
    answers "pid_of $name" "$@" || code=$?
    case $code in
        0) ;;
        2)
            tail -n 20 "$LOGS/$name.log" >&2
            die "$name has ended while it started; its log: $LOGS/$name.log"
            ;;
        *) die "$name does not answer within 300 s; its log: $LOGS/$name.log" ;;
    esac
}

start_servers() {
    launch kafka "$NATIVE/stack" run-kafka --data "$DATA_DIR/kafka" \
        --port "$KAFKA_PORT" --controller-port "$KAFKA_CONTROLLER_PORT"
    launch registry "$NATIVE/stack" run-registry --data "$DATA_DIR/registry" \
        --port "$REGISTRY_PORT"
    launch clickhouse "$NATIVE/stack" run-clickhouse \
        --data "$DATA_DIR/clickhouse" --port "$CLICKHOUSE_HTTP_PORT" \
        --tcp-port "$CLICKHOUSE_TCP_PORT" --writer-password "$(writer_password)" \
        --reader-password "$(reader_password)"
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
        launch hubspot-sim "$BIN/hubspot-sim" --listen "127.0.0.1:$SIM_PORT" \
            --contacts 20000 --companies 2000 --changes-per-second 2 --seed 1 \
            --token demo-token --state-dir "$DATA_DIR/sim"
        await hubspot-sim is_listening "$SIM_PORT"
    fi
    mkdir -p "$DATA_DIR/credentials"
    launch worker env "${common[@]}" \
        ADMIN_ADDRESS="127.0.0.1:$WORKER_ADMIN_PORT" \
        HUBSPOT_ACCESS_TOKEN="$HUBSPOT_ACCESS_TOKEN" \
        HUBSPOT_BASE_URL="${HUBSPOT_BASE_URL:-https://api.hubapi.com}" \
        HUBSPOT_RATE_LIMIT="$HUBSPOT_RATE_LIMIT" HUBSPOT_SEARCH_LIMIT="$HUBSPOT_SEARCH_LIMIT" \
        CREDENTIALS_DIR="$DATA_DIR/credentials" "$BIN/worker"
    launch data-streams env -u HUBSPOT_ACCESS_TOKEN "${common[@]}" \
        API_ADDRESS="127.0.0.1:$API_PORT" \
        CLICKHOUSE_URL="http://127.0.0.1:$CLICKHOUSE_HTTP_PORT" CLICKHOUSE_USER=writer \
        CLICKHOUSE_PASSWORD="$(writer_password)" \
        CLICKHOUSE_READER_PASSWORD="$(reader_password)" "$BIN/data-streams"
    await worker http_ok "http://127.0.0.1:$WORKER_ADMIN_PORT/health/ready"
    await data-streams http_ok "$API/health/ready"
}

# The servers are downloaded while the services are compiled.
install_and_build() {
    local installing code=0 began=$SECONDS
    check_prerequisites
    (install_servers) 9>&- &
    installing=$!
    [ -x "$BIN/data-streams" ] || say "building the services: 7 to 8 minutes on 2 cores, once"
    (cd "$ROOT" && cargo build --profile "$PROFILE" --bin worker --bin data-streams --bin hubspot-sim) || code=$?
    wait "$installing" || exit 1
    [ $code = 0 ] || die "the build failed (above)"
    [ $((SECONDS - began)) -lt 10 ] || say "built and installed in $((SECONDS - began)) s"
}

up() {
    paths
    announce_demo
    if [ -n "$MONITORING" ]; then
        say "MONITORING is for the stack in containers: Prometheus and Grafana are not started"
        MONITORING=""
    fi
    mkdir -p "$PIDS" "$LOGS"
    # Only one `up` at a time, so that nothing is started twice.
    exec 9>"$DATA_DIR/lock"
    flock 9
    check_ports is_ours KAFKA_CONTROLLER_PORT
    install_and_build
    start_servers
    start_services
    first_sync
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
    paths
    local name
    for name in worker data-streams hubspot-sim registry kafka clickhouse; do end "$name"; done
}

status() {
    paths
    local name pid failed=0
    for name in kafka registry clickhouse hubspot-sim worker data-streams; do
        [ "$name$DEMO" = hubspot-sim ] && continue
        if pid=$(pid_of "$name"); then
            echo "$name: running, pid $pid, since $(date -r "$PIDS/$name")"
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

# Lines of JSON as text, where a person reads them.
readable() {
    if [ -t 1 ] && command -v jq >/dev/null; then
        jq --raw-input --raw-output --unbuffered '. as $line | (fromjson? | objects |
            "\(.timestamp) \(.level) \(.target): \(.message) " +
            (del(.timestamp, .level, .target, .message) | to_entries
                | map("\(.key)=\(.value)") | join(" "))) // $line'
    else
        cat
    fi
}

logs() {
    paths
    tail -n 50 -F "$LOGS"/*.log | readable
}

clean_data() {
    paths
    down
    rm -rf "$DATA_DIR"
}
