# Installs the servers into a cache that all stacks of this user share. A folder's
# name has the hash of its manifest, so that each version is installed once.
#
# It must not know ports, data or processes.

CACHE_DIR="${CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/hubspot-streams}"

# The folder of one installation: its name and the hash of what it is made from.
cached() { # name file...
    local name=$1
    shift
    echo "$CACHE_DIR/$name-$(cat "$@" | sha256sum | cut -c1-12)"
}

# Installs into a new folder and renames it when complete, so that an interrupted
# installation is not used.
install_once() { # target step
    local target=$1 step=$2 fresh
    [ -d "$target" ] && return
    mkdir -p "$CACHE_DIR"
    fresh=$(mktemp -d "$CACHE_DIR/.installing.XXXXXX")
    say "installing $(basename "$target") (once)"
    if ! "$step" "$fresh" >"$fresh.log" 2>&1; then
        tail -n 20 "$fresh.log" >&2
        rm -rf "$fresh"
        die "the installation of $(basename "$target") failed; its log: $fresh.log"
    fi
    rm -f "$fresh.log"
    mv -T "$fresh" "$target" 2>/dev/null || rm -rf "$fresh"
}

kafka_home() { cached kafka "$NATIVE/kafka/pom.xml"; }
registry_home() { cached registry "$NATIVE/registry/pom.xml"; }
clickhouse_home() {
    cached clickhouse "$NATIVE/clickhouse/package.json" "$NATIVE/clickhouse/launcher.c"
}
python_home() { cached python "$ROOT/tests/python/requirements.txt"; }
sdk_home() { cached sdk "$ROOT/tests/sdk/node/package.json" "$ROOT/tests/sdk/node/package-lock.json"; }
browser_home() { cached browser "$ROOT/tests/browser/package.json" "$ROOT/tests/browser/package-lock.json"; }

install_kafka() {
    mvn -B -q -f "$NATIVE/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/lib"
}

install_registry() {
    mvn -B -q -f "$NATIVE/registry/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/archive"
    tar -xzf "$1"/archive/*.tar.gz -C "$1"
    rm -r "$1/archive"
    # The archive may or may not have one folder on top.
    local jar
    jar=$(find "$1" -name quarkus-run.jar | head -n 1)
    [ -n "$jar" ] && echo "$jar" | sed "s,^$1/,," >"$1/jar"
}

install_clickhouse() {
    cp "$NATIVE/clickhouse/package.json" "$NATIVE/clickhouse/package-lock.json" "$1/"
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts)
    find "$1/node_modules" -name libchdb.so -exec ln -s {} "$1/libchdb.so" \;
    # The folder is renamed after this, so the link is relative.
    ln -sfn "$(readlink "$1/libchdb.so" | sed "s,^$1/,,")" "$1/libchdb.so"
    cc -O2 -Wall -Wextra -o "$1/launcher" "$NATIVE/clickhouse/launcher.c" -ldl -lpthread
}

install_venv() { # target requirements
    "$(python3_11)" -m venv --copies "$1"
    "$1/bin/python3" -m pip install --quiet --disable-pip-version-check -r "$2"
}

install_python() { install_venv "$1" "$ROOT/tests/python/requirements.txt"; }

tools_home() { cached tools "$ROOT/infra/tools.txt"; }

install_tools() { install_venv "$1" "$ROOT/infra/tools.txt"; }

# The checks of what is deployed, in Go: the program, and the schemas of Kubernetes, which
# its sources have.
checks_home() {
    cached checks "$ROOT"/infra/checks/*.go "$ROOT"/infra/checks/go.* "$ROOT/infra/checks/kubernetes.txt"
}

install_checks() {
    local go version sum downloaded sources
    go=$(go_1_21) || return 1
    read -r version sum <"$ROOT/infra/checks/kubernetes.txt"
    downloaded=$(cd "$1" && "$go" mod download -json "$version") || return 1
    if ! grep -qF "\"Sum\": \"$sum\"" <<<"$downloaded"; then
        say "$version is not the one of infra/checks/kubernetes.txt"
        return 1
    fi
    sources=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$downloaded")
    mkdir "$1/schemas"
    cp "$sources"/api/openapi-spec/v3/{api__v1,apis__apps__v1,apis__networking.k8s.io__v1,apis__policy__v1}_openapi.json \
        "$1/schemas/" || return 1
    # Without optimisation, which would take a third of the build and save nothing.
    (cd "$ROOT/infra/checks" &&
        "$go" test -c -buildvcs=false -gcflags='all=-N -l' -ldflags=-s -o "$1/checks" .)
}

# Since 1.21 Go fetches the version that go.mod names.
go_1_21() {
    local candidate minor
    for candidate in go /usr/local/go/bin/go; do
        minor=$("$candidate" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
        if [ "${minor:-0}" -ge 21 ]; then
            echo "$candidate"
            return
        fi
    done
    say "go: install Go 1.21 or newer"
    return 1
}

install_sdk() {
    cp "$ROOT"/tests/sdk/node/package*.json "$1/"
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts)
}

install_browser() {
    cp "$ROOT"/tests/browser/package*.json "$1/"
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts)
}

python3_11() {
    local candidate
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is missing: it is needed for the tests with stock clients"
}

# The newest Java among JAVA_HOME, PATH and the system's folder.
newest_java() {
    local best="" best_version=0 java version release
    for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        # The release file has the version, so Java need not be started.
        release="$(dirname "$(dirname "$(readlink -f "$java")")")/release"
        version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$release" 2>/dev/null)
        [ -n "$version" ] ||
            version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
        if [ "${version:-0}" -gt "$best_version" ]; then
            best=$java
            best_version=$version
        fi
    done
    if [ "$best_version" -lt 21 ]; then
        say "java: install Java 21 or newer, or set JAVA_HOME to one"
        return 1
    fi
    echo "$best"
}

# Names all missing programs at once, with what to install.
check_prerequisites() {
    local missing=()
    command -v cargo >/dev/null || missing+=("cargo: install Rust from rustup (1.95 or newer)")
    command -v cc >/dev/null || missing+=("cc: install a C compiler (Debian: gcc libc6-dev)")
    command -v c++ >/dev/null || missing+=("c++: install a C++ compiler (Debian: g++)")
    command -v make >/dev/null || missing+=("make: install GNU make")
    command -v perl >/dev/null || missing+=("perl: install perl (OpenSSL's build needs it)")
    command -v mvn >/dev/null || missing+=("mvn: install Maven")
    command -v node >/dev/null || missing+=("node: install Node.js")
    command -v npm >/dev/null || missing+=("npm: install npm")
    newest_java >/dev/null 2>&1 || missing+=("java: install Java 21 or newer, or set JAVA_HOME to one")
    [ ${#missing[@]} -eq 0 ] && return
    printf 'missing: %s\n' "${missing[@]}" >&2
    die "install what is missing, then try again"
}

install_servers() {
    check_prerequisites
    install_once "$(kafka_home)" install_kafka
    install_once "$(registry_home)" install_registry
    install_once "$(clickhouse_home)" install_clickhouse
}

# Only for the tests, which start many servers; `make up` starts one of each.
speed_up_starts() {
    run_once kafka "$(kafka_home)"
    run_once registry "$(registry_home)"
}
