# Runs one server in the foreground: writes its configuration, then execs it. The
# caller owns the process.
#
# It must not know which stack it is for.

# Reads --name value pairs into the array `option`.
declare -A option
options() { # allowed... -- args...
    local allowed=" " name
    while [ "$1" != "--" ]; do
        allowed+="$1 "
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        name=${1#--}
        case "$allowed" in *" $name "*) ;; *) die "unknown option $1" ;; esac
        [ $# -ge 2 ] || die "$1 needs a value"
        option[$name]=$2
        shift 2
    done
}

# Execs a server without the caller's environment, which may hold tokens: a database
# shows its environment to its users.
become() {
    exec env -i PATH="$PATH" HOME="$HOME" LANG=C.UTF-8 "$@"
}

# Runs a server once for a moment. When it ends, Java writes an archive of the classes
# that it has loaded beside the installation, which halves the time of later starts.
# Another Java writes the archive again. A server also runs without it.
run_once() { # kind home
    [ -f "$2.jsa" ] && return
    local data port pid tries=0
    say "running $1 for a moment (once), so that it starts faster"
    data=$(mktemp -d)
    port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => {
        console.log(s.address().port); s.close(); })')
    "run_$1" --data "$data" --port "$port" >"$data/server.log" 2>&1 &
    pid=$!
    until (echo >"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ! kill -0 "$pid" 2>/dev/null ||
        [ $((tries += 1)) -gt 600 ]; do
        sleep 0.1
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -rf "$data"
}

# 16 bytes in the letters of URLs, as Kafka's command prints them; that command would
# start another Java.
random_uuid() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '='; }

run_kafka() {
    options data port controller-port listeners join settings scram cluster policy -- "$@"
    local data=${option[data]} port=${option[port]} controller cluster=${option[cluster]:-}
    controller=${option["controller-port"]:-$((port + 1))}
    local node=1 roles="broker,controller" quorum=",CONTROLLER://127.0.0.1:$controller"
    # A second broker for the Kafka whose data is in OTHERS_DIR.
    if [ -n "${option[join]:-}" ]; then
        node=2 roles=broker quorum=""
        cluster=$(sed -n 's/^cluster.id=//p' "${option[join]}/log/meta.properties")
        controller=$(sed -n 's/^controller.quorum.voters=.*://p' "${option[join]}/server.properties")
    fi
    local java config="$data/server.properties" lib archive
    java=$(newest_java)
    install_once "$(kafka_home)" install_kafka
    archive="-XX:SharedArchiveFile=$(kafka_home).jsa"
    lib="$(kafka_home)/lib/*"
    mkdir -p "$data/log"
    # Further listeners, LISTEN:ADVERTISED:PROTOCOL, for clients that connect through a
    # proxy or have to prove who they are.
    local one listens advertises protocol name listeners="" advertised="" protocols=""
    for one in ${option[listeners]:-}; do
        IFS=: read -r listens advertises protocol <<<"$one"
        name="PORT$listens"
        listeners+=",$name://127.0.0.1:$listens"
        advertised+=",$name://127.0.0.1:$advertises"
        protocols+=",$name:$protocol"
    done
    # Offsets are kept for a year, so that a stack that was down for weeks continues
    # where it stopped.
    cat >"$config" <<END
process.roles=$roles
node.id=$node
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port$quorum$listeners
advertised.listeners=PLAINTEXT://127.0.0.1:$port$advertised
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$protocols
inter.broker.listener.name=PLAINTEXT
log.dirs=$data/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
offsets.retention.minutes=525600
log.cleaner.dedupe.buffer.size=16777216
END
    # Of two values of a setting the later one counts.
    [ -z "${option[settings]:-}" ] || cat "${option[settings]}" >>"$config"
    # The source of a class that judges new topics, as a provider's does.
    if [ -n "${option[policy]:-}" ]; then
        "$(dirname "$java")/javac" -d "$data/classes" -cp "$lib" "${option[policy]}"
        lib+=":$data/classes"
        echo "create.topic.policy.class.name=$(basename "${option[policy]}" .java)" >>"$config"
    fi
    local users=()
    for one in ${option[scram]:-}; do users+=(--add-scram "SCRAM-SHA-512=[$one]"); done
    if [ ! -f "$data/log/meta.properties" ]; then
        "$java" "$archive" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$lib" \
            kafka.tools.StorageTool format -c "$config" -t "${cluster:-$(random_uuid)}" \
            "${users[@]}" >/dev/null
    fi
    become "$java" "$archive" -XX:+AutoCreateSharedArchive \
        -Xms256m -Xmx256m -XX:+ExitOnOutOfMemoryError -XX:+UseSerialGC \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$lib" kafka.Kafka "$config"
}

# Runs one of Kafka's command-line tools.
run_kafka_tool() { # class args...
    install_once "$(kafka_home)" install_kafka
    exec "$(newest_java)" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$(kafka_home)/lib/*" "$@"
}

run_registry() {
    options data port -- "$@"
    local data=${option[data]} port=${option[port]} home java
    home=$(registry_home)
    java=$(newest_java)
    install_once "$home" install_registry
    mkdir -p "$data"
    # No write delay, so that an id that a client got survives a crash.
    become "$java" "-XX:SharedArchiveFile=$home.jsa" -XX:+AutoCreateSharedArchive \
        -Xmx192m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
        -Dapicurio.storage.kind=sql \
        "-Dapicurio.datasource.url=jdbc:h2:file:$(cd "$data" && pwd)/registry;WRITE_DELAY=0" \
        -Dapicurio.datasource.jdbc.initial-size=1 -Dapicurio.datasource.jdbc.min-size=1 \
        -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$port" \
        -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 \
        -Dquarkus.log.level=WARN -Dapicurio.log.level=WARN \
        -jar "$home/$(cat "$home/jar")"
}

run_clickhouse() {
    options data port tcp-port writer-password reader-password disk-size -- "$@"
    local data=${option[data]} home grants disk=()
    home=$(clickhouse_home)
    install_once "$home" install_clickhouse
    mkdir -p "$data/store"
    data=$(cd "$data" && pwd)
    touch "$data/users.xml"
    chmod 600 "$data/users.xml"
    sed "s,@DATA@,$data,g" "$NATIVE/clickhouse/config.xml" >"$data/config.xml"
    grants=$(reader_grants "$data/store" | tr -d '\n')
    clickhouse_users "${option["writer-password"]}" "${option["reader-password"]:-$(random_uuid)}" \
        "$grants" >"$data/users.xml"
    # A disk in memory, visible to this process only and removed when it ends.
    [ -z "${option["disk-size"]:-}" ] || disk=(unshare --user --map-root-user --mount
        sh -c 'mount -t tmpfs -o "size=$0" tmpfs store && exec "$@"' "${option["disk-size"]}")
    # The launcher allows the server to open only files in the working directory.
    cd "$data"
    become CHDB_LIB="$home/libchdb.so" "${disk[@]}" "$home/launcher" --path "$data/store" \
        --config-file "$data/config.xml" --listen_host 127.0.0.1 \
        --http_port "${option[port]}" --tcp_port "${option["tcp-port"]:-$((option[port] + 1))}"
}
