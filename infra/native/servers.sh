# Runs one server in the foreground: writes its configuration, then becomes it.
# Whoever calls owns the process.
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

run_kafka() {
    options data port controller-port -- "$@"
    local data=${option[data]} port=${option[port]} controller
    controller=${option["controller-port"]:-$((port + 1))}
    local java config="$data/server.properties" lib
    java=$(newest_java)
    lib="$(kafka_home)/lib/*"
    mkdir -p "$data/log"
    cat >"$config" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
log.cleaner.dedupe.buffer.size=16777216
END
    if [ ! -f "$data/log/meta.properties" ]; then
        "$java" -cp "$lib" kafka.tools.StorageTool format -c "$config" \
            -t "$("$java" -cp "$lib" kafka.tools.StorageTool random-uuid)" >/dev/null
    fi
    exec "$java" -Xms256m -Xmx256m -XX:+ExitOnOutOfMemoryError -XX:+UseSerialGC \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$lib" kafka.Kafka "$config"
}

run_registry() {
    options data port -- "$@"
    local data=${option[data]} port=${option[port]} home
    home=$(registry_home)
    mkdir -p "$data"
    exec "$(newest_java)" -Xmx192m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
        -Dapicurio.storage.kind=sql \
        "-Dapicurio.datasource.url=jdbc:h2:file:$(cd "$data" && pwd)/registry" \
        -Dapicurio.datasource.jdbc.initial-size=1 -Dapicurio.datasource.jdbc.min-size=1 \
        -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$port" \
        -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 \
        -Dquarkus.log.level=WARN -Dapicurio.log.level=WARN \
        -jar "$home/$(cat "$home/jar")"
}

run_clickhouse() {
    options data port tcp-port writer-password reader-password -- "$@"
    local data=${option[data]} home writer reader
    home=$(clickhouse_home)
    mkdir -p "$data/store"
    data=$(cd "$data" && pwd)
    writer=$(printf %s "${option["writer-password"]}" | sha256sum | cut -d' ' -f1)
    reader=$(printf %s "${option["reader-password"]:-reader}" | sha256sum | cut -d' ' -f1)
    touch "$data/users.xml"
    chmod 600 "$data/users.xml"
    sed -e "s,@DATA@,$data,g" "$NATIVE/clickhouse/config.xml" >"$data/config.xml"
    sed -e "s,@WRITER@,$writer,g" -e "s,@READER@,$reader,g" \
        "$NATIVE/clickhouse/users.xml" >"$data/users.xml"
    cd "$data"
    CHDB_LIB="$home/libchdb.so" exec "$home/launcher" --path "$data/store" \
        --config-file "$data/config.xml" --listen_host 127.0.0.1 \
        --http_port "${option[port]}" --tcp_port "${option["tcp-port"]:-$((option[port] + 1))}"
}
