#!/bin/bash
# Runs a command against a server of its own, and fails if that server leaves anything on the host.
#
#   scripts/with-server.sh [--tls] [--image NAME=FILE]... [--log FILE] COMMAND [ARGUMENT]...
#
# Takes $ALCOVE_BIN (the program `alcove`) and $ALCOVE_DEFAULT_IMAGE (the image of the snapshot `default`).
# The server gets a new data folder, a free port and a network pool of its own: $ALCOVE_NETWORK_POOL, or one
# that no other run of this script uses. The command gets DAYTONA_API_URL and DAYTONA_API_KEY, as a user would
# set them, and ALCOVE_SERVER_PID. --tls lets the system trust an authority for this server, as long as it runs; root.
# --log keeps the server's log in FILE; without it, only a failure shows its end.
#
# Exits with the command's status; with 1 if the server did not start, did not stop, or left something behind.
set -uo pipefail

START_SECONDS=180   # An image of a gigabyte is unpacked in that time, also on a busy machine.
DELETE_SECONDS=60
STOP_SECONDS=60
GONE_SECONDS=10
LOG_LINES=60

say() { echo "with-server.sh: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

options=() log_copy='' tls=''
while [[ ${1:-} == --* ]]; do
    if [[ $1 == --tls ]]; then
        tls=yes
        shift
        continue
    fi
    case $1 in
        --image) options+=(--image "${2:?--image needs NAME=FILE}") ;;
        --log) log_copy=$(realpath --canonicalize-missing "${2:?--log needs a file}") ;;
        *) fail "there is no option $1" ;;
    esac
    shift 2
done
(($#)) || fail "no command was given"
alcove=$(realpath "${ALCOVE_BIN:?is the program alcove}") && [[ -x $alcove ]] || fail "cannot execute $ALCOVE_BIN"

work=$(mktemp -d "${TMPDIR:-/tmp}/alcove-server.XXXXXX") || exit 1
data=$(realpath "$work")/data
log=$work/server.log
mkdir "$data"
# The server derives the names of all that it makes on the host from its data folder.
tag=$(printf %s "$data" | sha256sum | cut -c1-6)

# What is set for other servers and clients on this machine must not reach these.
unset ALCOVE_DATA_DIR ALCOVE_LISTEN ALCOVE_PUBLIC_URL ALCOVE_S3_LISTEN ALCOVE_S3_PUBLIC_URL ALCOVE_SSH_LISTEN ALCOVE_SSH_COMMAND ALCOVE_TLS_REQUIRED \
    ALCOVE_ADMIN_API_KEY ALCOVE_LOG_JSON "${!DAYTONA_@}"

# The lock is held until this script ends, however it ends.
pool=${ALCOVE_NETWORK_POOL:-}
for ((number = 0; number < 16; number++)); do
    [[ -z $pool ]] || break
    exec 9>"/run/lock/alcove-with-server-$number"
    flock --nonblock 9 && pool=10.210.$((number * 16)).0/20
done
[[ -n $pool ]] || fail "16 other servers run already"

server='' command='' interrupted=''

# Waits until a command succeeds: within SECONDS, asking every 50 ms.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

# A child that has ended is still there until it is waited for, which the shell may do at any time: one look tells all.
is_alive() { grep --quiet --no-messages '^State:.[^Z]' "/proc/$1/status"; }
is_over() { ! is_alive "$1"; }

api() {
    curl --silent --show-error --fail --max-time 30 --header "Authorization: Bearer $DAYTONA_API_KEY" "$@"
}

is_ready_or_over() {
    is_over "$server" && return
    [[ -s $data/server.json ]] || return
    DAYTONA_API_URL=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["apiUrl"])' <"$data/server.json")
    curl --silent --fail --max-time 5 --output /dev/null "$DAYTONA_API_URL/health"
}

start() {
    [[ -z $tls ]] || "$alcove" tls install --data-dir "$data" >"$log" 2>&1 || return 1
    # A session of its own: Ctrl-C is for the command, the server must outlive it.
    env --default-signal=INT,TERM NO_COLOR=1 setsid "$alcove" serve --data-dir "$data" --listen 127.0.0.1:0 --s3-listen 127.0.0.1:0 \
        --ssh-listen 127.0.0.1:0 \
        --network-pool "$pool" "${options[@]}" >>"$log" 2>&1 </dev/null 9>&- &
    server=$!
    within $START_SECONDS is_ready_or_over || say "the server is not ready after $START_SECONDS s"
    is_alive "$server" || say "the server did not start"
    [[ -n ${DAYTONA_API_URL:-} ]] && is_alive "$server" || return 1
    DAYTONA_API_KEY=$(<"$data/admin.key")
    export DAYTONA_API_URL DAYTONA_API_KEY ALCOVE_SERVER_PID=$server
}

# Runs the command in a process group of its own, so that a signal reaches it once and all of it.
run() {
    set -m
    "$@" 9>&- &
    command=$!
    set +m
    local status
    wait "$command"
    status=$?
    # A trapped signal ends `wait` early.
    while is_alive "$command"; do
        wait "$command"
        status=$?
    done
    kill -TERM -- "-$command" 2>/dev/null
    command=
    return $status
}

interrupt() {
    interrupted=$1
    [[ -z $command ]] || kill "-$1" -- "-$command" 2>/dev/null
}
trap 'interrupt INT' INT
trap 'interrupt TERM' TERM
trap 'interrupt HUP' HUP

sandbox_ids() {
    api "$DAYTONA_API_URL/sandbox?limit=100" |
        python3 -c 'import json, sys; print(*(s["id"] for s in json.load(sys.stdin)["items"]))'
}

# Asks again for those that were busy. Ends as well when there is nobody to ask.
delete_all_or_over() {
    is_over "$server" && return
    local ids id
    ids=$(sandbox_ids 2>/dev/null) || return
    for id in $ids; do
        api --request DELETE --output /dev/null "$DAYTONA_API_URL/sandbox/$id" 2>/dev/null
    done
    [[ -z $ids ]]
}

stop() {
    local status=0
    if [[ -n ${DAYTONA_API_KEY:-} ]] && ! within $DELETE_SECONDS delete_all_or_over; then
        say "cannot delete the sandboxes that are left"
        status=1
    fi
    if is_over "$server"; then
        say "the server is gone"
        status=1
    fi
    kill -INT "$server" 2>/dev/null
    if ! within $STOP_SECONDS is_over "$server"; then
        say "the server does not stop"
        kill -KILL "$server"
        status=1
    fi
    wait "$server" 2>/dev/null || status=1
    return $status
}

cgroup_folders() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | while read -r tree; do
        [[ ! -d $tree/alcove-$tag ]] || find "$tree/alcove-$tag" -depth -type d
    done
}

processes() {
    local folder
    for folder in /proc/[0-9]*; do
        if grep -qs "/alcove-$tag\(/\|$\)" "$folder/cgroup" ||
            [[ $(readlink "$folder/exe" 2>/dev/null) == "$data"/* ]]; then
            echo "${folder#/proc/}"
        fi
    done
}

loop_devices() {
    local folder
    for folder in /sys/block/loop*/loop; do
        [[ $(cat "$folder/backing_file" 2>/dev/null) != "$data"/* ]] || echo "/dev/$(basename "${folder%/loop}")"
    done
}

interfaces() { find /sys/class/net -maxdepth 1 -name "alc$tag-*" -printf '%f\n'; }
addresses() { ip -4 -oneline address show label "lo:alc$tag" | awk '{ print $4 }'; }
tables() { nft list tables inet 2>/dev/null | grep --only-matching "alcove_$tag"; }
mounts() { awk -v below="$data/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort --reverse; }

left_behind() {
    local kind found
    for kind in processes interfaces addresses tables loop_devices cgroup_folders mounts; do
        found=$("$kind" | tr '\n' ' ')
        [[ -z $found ]] || echo "${kind//_/ }: $found"
    done
}
is_clean() { [[ -z $(left_behind) ]]; }

# Takes away what should have gone by itself, in the order in which one holds the other.
sweep() {
    local item
    for item in $(processes); do kill -KILL "$item" 2>/dev/null; done
    within $GONE_SECONDS eval '[[ -z $(processes) ]]'
    for item in $(mounts); do umount --lazy "$item"; done
    for item in $(loop_devices); do losetup --detach "$item"; done
    for item in $(interfaces); do ip link delete "$item"; done
    for item in $(addresses); do ip address delete "$item" dev lo; done
    for item in $(tables); do nft delete table inet "$item"; done
    for item in $(cgroup_folders); do rmdir "$item"; done
    within $GONE_SECONDS is_clean || say "could not be taken away: $(left_behind)"
}

status=0
start || status=1
if ((status == 0)) && [[ -z $interrupted ]]; then
    run "$@"
    status=$?
fi
stop || ((status)) || status=1
if ! within $GONE_SECONDS is_clean; then
    say "left behind:"
    left_behind | sed 's/^/  /' >&2
    sweep
    ((status)) || status=1
fi
case $interrupted in
    INT) status=130 ;;
    TERM) status=143 ;;
    HUP) status=129 ;;
esac

if [[ -n $tls ]] && ! "$alcove" tls remove --data-dir "$data" >>"$log" 2>&1; then
    say "the system still trusts the authority of this server"
    ((status)) || status=1
fi
[[ -z $log_copy ]] || { mkdir -p "$(dirname "$log_copy")" && cp "$log" "$log_copy"; }
if ((status)); then
    say "failed with $status; the end of the server's log:"
    tail -n $LOG_LINES "$log" | grep --invert-match DAYTONA_API_KEY= >&2
fi
rm -rf --one-file-system "$work"
exit $status
