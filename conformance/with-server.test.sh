#!/bin/bash
# Tests of scripts/with-server.sh: what it passes on, and that what is left behind is noticed and taken away.
#
# Takes $ALCOVE_BIN and $ALCOVE_DEFAULT_IMAGE; the smallest image will do.
set -uo pipefail

with_server=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../scripts/with-server.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work
passed=0 failed=0

# What a test expects: exit status, then words of the output.
expect() {
    local name=$1 status=$2
    shift 2
    local word problem=
    [[ $got == "$status" ]] || problem="exited with $got, not $status"
    for word in "$@"; do
        grep --quiet -- "$word" "$work/output" || problem+=" no \"$word\" in the output"
    done
    # Whatever happened, the folder of the server is gone, and with it nothing of the instance remains.
    [[ -z $(find "$work" -maxdepth 1 -name 'alcove-server.*') ]] || problem+=" a data folder is left"
    if [[ -s $work/tag ]] && leftovers | grep --quiet .; then
        problem+=" left: $(leftovers)"
    fi
    if [[ -z $problem ]]; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "FAILED: $name: $problem"
        sed 's/^/  | /' "$work/output"
        failed=$((failed + 1))
    fi
    rm -f "$work/tag"
}

leftovers() {
    local tag
    tag=$(<"$work/tag")
    ls /sys/class/net | grep "^alc$tag-"
    nft list tables | grep "alcove_$tag"
    find /sys/fs/cgroup -maxdepth 2 -name "alcove-$tag"
    cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep "^$work/"
}

run() {
    "$with_server" "$@" >"$work/output" 2>&1
    got=$?
}

# Within the command: writes down how the instance is called on the host.
export NOTE='printf %s "$(dirname "$(ls -d $TMPDIR/alcove-server.*/data/admin.key)")" | sha256sum | cut -c1-6 > $TMPDIR/tag'
export CREATE='curl -sS --fail -X POST -H "Authorization: Bearer $DAYTONA_API_KEY" -H "Content-Type: application/json" -d "{}" $DAYTONA_API_URL/sandbox'

run sh -c 'eval "$NOTE"; curl -sS --fail $DAYTONA_API_URL/health; kill -0 $ALCOVE_SERVER_PID && echo " alive"'
expect "a command runs against a server that is ready" 0 '"status":"ok"' alive

run sh -c 'eval "$NOTE"; exit 7'
expect "the command's status is passed on, and the server's log shown" 7 "failed with 7" "Alcove is ready"

run sh -c 'eval "$NOTE"; eval "$CREATE"'
expect "a sandbox that the command left is deleted and is no fault" 0 '"state":"started"'

run sh -c 'eval "$NOTE"; ip link add alc$(cat $TMPDIR/tag)-x type veth peer name alc$(cat $TMPDIR/tag)-y'
expect "an interface that the server does not know is found and taken away" 1 "left behind" "interfaces: alc"

run sh -c 'eval "$NOTE"; eval "$CREATE" > /dev/null && kill -KILL $ALCOVE_SERVER_PID'
expect "a server that was killed fails the run, and its sandboxes are taken away" 1 "the server is gone" processes \
    interfaces tables "loop devices" cgroup

ALCOVE_DEFAULT_IMAGE=/nonexistent run true
expect "a server that does not start fails the run" 1 "did not start" "cannot find the image"

# As Ctrl-C does: once the command runs, the script gets the signal. A shell that was started with the signal
# ignored, as every background job of this one is, could not catch it.
env --default-signal=INT setsid "$with_server" sh -c 'eval "$NOTE"; eval "$CREATE" > /dev/null; echo running > $TMPDIR/running; exec sleep 300' \
    >"$work/output" 2>&1 &
pid=$!
deadline=$((SECONDS + 120))
until [[ -s $work/running ]] || ((SECONDS > deadline)); do sleep 0.05; done
kill -INT $pid
wait $pid
got=$?
expect "an interrupted run cleans up" 130

echo "$passed passed, $failed failed"
((failed == 0))
