# What the native and the compose stack share: the check of all ports, before anything
# starts.
#
# It must not know how a process is started.

# The settings with ports of this stack, each with its port.
ports() {
    local name
    for name in API_PORT KAFKA_PORT "$@" REGISTRY_PORT CLICKHOUSE_HTTP_PORT \
        CLICKHOUSE_TCP_PORT WORKER_ADMIN_PORT ${DEMO:+SIM_PORT} \
        ${MONITORING:+PROMETHEUS_PORT GRAFANA_PORT}; do
        echo "$name ${!name}"
    done
}

# Ends with a message if a port is no port, or if two settings have the same.
check_settings_of_ports() { # further settings...
    local name port other wrong=0
    local -A taken=()
    while read -r name port; do
        if ! [[ "$port" =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65535 ]; then
            say "$name is no port from 1 to 65535: $port"
            wrong=1
            continue
        fi
        other=${taken[$port]:-}
        if [ -n "$other" ]; then
            say "$other and $name are both $port"
            wrong=1
        fi
        taken[$port]=$name
    done < <(ports "$@")
    [ $wrong -eq 0 ] ||
        die "give each its own port, in .env or the environment (KAFKA_CONTROLLER_PORT is KAFKA_PORT plus one where it is not set)"
}

is_listening() { # port
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Ends with a message if other programs use ports. `ours` says whether the port of a
# setting is used by this stack itself.
check_ports() { # ours, further settings...
    local ours=$1 name port taken=0
    shift
    check_settings_of_ports "$@"
    while read -r name port; do
        "$ours" "$name" && continue
        is_listening "$port" || continue
        say "$name: port $port is in use by another program"
        taken=1
    done < <(ports "$@")
    [ $taken -eq 0 ] || die "end those programs, or give the settings other ports, in .env or the environment"
}

# The process that listens on the port of a setting.
process_of() { # setting
    case "$1" in
        KAFKA_*) echo kafka ;;
        REGISTRY_PORT) echo registry ;;
        CLICKHOUSE_*) echo clickhouse ;;
        SIM_PORT) echo hubspot-sim ;;
        WORKER_*) echo worker ;;
        PROMETHEUS_PORT) echo prometheus ;;
        GRAFANA_PORT) echo grafana ;;
        *) echo data-streams ;;
    esac
}
