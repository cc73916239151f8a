#!/bin/bash
# The first process of the guest: sets the machine up as an ordinary host, runs the test programs, and switches
# it off. The host reads the lines that begin with `alcove-guest:`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export ALCOVE_PARTS_DIR=/alcove/parts ALCOVE_IMAGES_DIR=/alcove/images ALCOVE_BIN=/alcove/parts/alcove
export ALCOVE_TEST_PATIENCE=10 RUST_BACKTRACE=1

say() { echo "alcove-guest: $*"; }

switch_off() {
    # The file system is thrown away, so it need not be left in order.
    echo o >/proc/sysrq-trigger
    sleep 60
}

mount -t proc -o nosuid,nodev,noexec proc /proc
trap switch_off EXIT
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t devtmpfs -o nosuid dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,mode=0620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=0755 run /run
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
echo guest >/proc/sys/kernel/hostname
# What udev and systemd do on an ordinary host. Everything else the kernel loads when it is asked for it.
modprobe -a loop tun virtio_pci virtio_net
ip link set lo up
for card in /sys/class/net/e*; do
    card=${card##*/}
    ip link set "$card" up && ip address add 10.0.2.15/24 dev "$card" && ip route add default via 10.0.2.2
done
echo nameserver 10.0.2.3 >/etc/resolv.conf
# Above all of the guest's descriptors lies the same ceiling as on a host with systemd.
ulimit -n 524288

say "kernel $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers), $(grep -c ' cgroup ' /proc/mounts) version 1 trees"
failed=0

run() {
    local name=$1 log status
    shift
    say "running $name"
    log=$SECONDS
    "$@" 2>&1
    status=$?
    say "$name exit $status after $((SECONDS - log)) s"
    ((status == 0)) || failed=1
}

read -r word </alcove/word
arguments=(--test-threads=1)
[[ -z $word ]] || arguments+=("$word")
run doctor "$ALCOVE_BIN" doctor
for program in /alcove/tests/*; do
    run "${program##*/}" "$program" "${arguments[@]}"
done

# Once more as in a container: in a control group that is not the top of the tree, seen as if it were, with
# processes in it. The kernel lets no such group hand its controllers on.
nested() {
    mkdir /sys/fs/cgroup/nested || return
    echo '+memory +cpu +pids' >/sys/fs/cgroup/cgroup.subtree_control || return
    bash -c '
        echo 0 >/sys/fs/cgroup/nested/cgroup.procs || exit
        exec unshare --mount --cgroup bash -c "
            umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
            ! grep -q memory /sys/fs/cgroup/cgroup.subtree_control || exit
            \$ALCOVE_BIN doctor || exit
            /alcove/tests/runner_lifecycle --test-threads=1 a_sandbox_runs sandboxes_outlive"'
}
if [[ -x /alcove/tests/runner_lifecycle ]]; then
    run "runner_lifecycle in a group of its own" nested
fi

if ((failed == 0)); then
    say "all passed"
else
    say "something failed"
fi
