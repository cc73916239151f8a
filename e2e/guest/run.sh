#!/bin/bash
# Runs test programs in a virtual machine with Debian's own kernel and pure control groups of version 2:
#
#   e2e/guest/run.sh [-k WORD] PROGRAM...
#
# The host that this project is developed on has neither. The machine is emulated in software, which works
# everywhere and is some twenty times slower than the processor; ALCOVE_TEST_PATIENCE tells the tests so.
# With -k only those tests of each program run whose name has the word in it.
#
# From the environment: ALCOVE_PARTS_DIR (the static programs), ALCOVE_IMAGES_DIR (busybox.oci.tar),
# ALCOVE_BIN (the program `alcove`), ALCOVE_GUEST_CACHE (a folder for the root file system, kept between runs),
# ALCOVE_GUEST_SECONDS (after which the machine is ended).
#
# The exit status is 0 if every program passed. Needs root; leaves nothing behind but the cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
release=bookworm
limit=${ALCOVE_GUEST_SECONDS:-2400}
packages=e2fsprogs,nftables,iproute2,kmod,ca-certificates,util-linux

fail() {
    echo "e2e/guest/run.sh: $*" >&2
    exit 2
}

[[ $EUID -eq 0 ]] || fail "must be run as root"

# In namespaces of its own: the memory file system below, and the machine, are gone with this script, however
# that ends.
if [[ -z ${ALCOVE_GUEST_WORK:-} ]]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/alcove-guest.XXXXXX")
    # It takes no notice of anything but a kill, with which all inside of the namespaces ends.
    trap 'kill -KILL "$inside" 2>/dev/null; wait; exit 130' INT TERM
    trap 'rm -rf --one-file-system "$work"' EXIT
    ALCOVE_GUEST_WORK=$work unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$0" "$@" &
    inside=$!
    wait "$inside"
    exit
fi
work=$ALCOVE_GUEST_WORK
unset ALCOVE_GUEST_WORK

word=
if [[ ${1:-} == -k ]]; then
    word=$2
    shift 2
fi
(($# > 0)) || fail "usage: run.sh [-k WORD] PROGRAM..."
parts=${ALCOVE_PARTS_DIR:?is not set} images=${ALCOVE_IMAGES_DIR:?is not set} alcove=${ALCOVE_BIN:?is not set}
cache=${ALCOVE_GUEST_CACHE:-$here/../../.cache/guest}
for file in "$parts"/alcove-{agent,git,spawner} "$images/busybox.oci.tar" "$alcove" "$@"; do
    [[ -f $file ]] || fail "$file is missing; use make guest"
done

missing=()
for pair in qemu-system-x86_64=qemu-system-x86 mmdebstrap=mmdebstrap mkfs.ext4=e2fsprogs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
done
if ((${#missing[@]})); then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

available_kib=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
# Beside the 2 GiB of the machine itself.
if ((available_kib > 6 * 1024 * 1024)); then
    mount -t tmpfs -o size=3g,mode=0755 alcove-guest "$work"
fi

# The newest kernel of the release, by the name that its empty package depends on. Not installed: the host
# keeps its own.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

# The host's own lines for this release; without any, mmdebstrap takes Debian's.
debian_lines() {
    apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
        awk -v release="$release" '
            $1 == "Packages" && $2 ~ /^https?:/ && $4 == "main" &&
            ($3 == release || $3 == release "-updates" || $3 == release "-security") {
                print "deb", $2, $3, $4 }' | sort -u
}

apt_options() {
    apt-config dump | grep -E '^Acquire::(https?|Check-|Retries)' || true
}

make_base() {
    local package=$1 out=$2 root=$work/base
    echo "making the guest's root file system with $package"
    debian_lines >"$work/sources.list"
    apt_options >"$work/apt-options"
    local sources=()
    if [[ -s $work/sources.list ]]; then sources=("$work/sources.list"); fi
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
        --aptopt="$work/apt-options" --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$root" "${sources[@]}"
    mkdir "$work/deb"
    (cd "$work/deb" && apt-get download -qq -o APT::Sandbox::User=root "$package")
    dpkg-deb --extract "$work"/deb/*.deb "$work/kernel"
    mv "$work"/kernel/lib/modules "$root/lib/modules"
    mv "$work"/kernel/boot/vmlinuz-* "$root/boot/vmlinuz"
    chroot "$root" depmod "$(ls "$root/lib/modules")"
    tar --create --directory="$root" --numeric-owner --exclude='./dev/*' . | zstd -q -3 -T0 -o "$work/base.tar.zst"
    mkdir -p "$cache"
    mv "$work/base.tar.zst" "$out.partial.$$"
    mv "$out.partial.$$" "$out"
    rm -rf "$work/deb" "$work/kernel"
}

package=$(kernel_package)
[[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64; run apt-get update on a Debian $release host"
# Made anew when the kernel's package, or how it is made, has changed.
recipe=$({ declare -f make_base; echo "$release $packages"; } | sha256sum | cut -c1-12)
base=$cache/$package-$recipe.tar.zst
if [[ ! -f $base ]]; then
    make_base "$package" "$base"
    # Those of earlier kernels are of no use to anybody.
    find "$cache" -maxdepth 1 -name '*.tar.zst' ! -path "$base" -delete
fi

root=$work/base
if [[ ! -d $root ]]; then
    mkdir "$root"
    zstd -q -d -c "$base" | tar --extract --directory="$root" --numeric-owner
fi
mv "$root/boot/vmlinuz" "$work/vmlinuz"
install -D -m 0755 "$here/init.sh" "$root/alcove/init"
# Those of the tests too, if there are any.
for program in "$parts"/alcove-*; do
    if [[ -f $program && -x $program ]]; then install -D -m 0755 -t "$root/alcove/parts" "$program"; fi
done
install -D -m 0644 -t "$root/alcove/images" "$images/busybox.oci.tar"
# A build that carries no parts takes those beside it.
install -m 0755 "$alcove" "$root/alcove/parts/alcove"
mkdir "$root/alcove/tests"
for program in "$@"; do
    # The hash that cargo puts behind the name tells nobody anything.
    name=$(basename "$program" | sed -E 's/-[0-9a-f]{16}$//')
    install -m 0755 "$program" "$root/alcove/tests/$name"
done
strip --strip-debug "$root"/alcove/tests/* "$root/alcove/parts/alcove"
printf '%s\n' "$word" >"$root/alcove/word"

truncate -s 8G "$work/disk.img"
mke2fs -q -t ext4 -E lazy_itable_init=1,nodiscard -d "$root" "$work/disk.img"
rm -rf "$root"

echo "starting the machine, $(($#)) programs, at most $limit s"
# No hardware acceleration: where it is nested it may hang an ordinary kernel. The network card leads nowhere;
# it is there so that the guest has a default route.
timeout --kill-after=10 "$limit" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2G \
    -nodefaults -no-user-config -nographic -no-reboot -serial stdio \
    -kernel "$work/vmlinuz" \
    -append "root=/dev/nvme0n1 rw rootwait init=/alcove/init console=ttyS0 quiet panic=-1 mitigations=off" \
    -drive "file=$work/disk.img,format=raw,if=none,id=disk,cache=unsafe,discard=unmap" -device nvme,drive=disk,serial=disk \
    -netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net,romfile= \
    </dev/null | stdbuf -oL tr -d '\r' | tee "$work/output" || true

# Only the guest's own word counts: a machine that broke off says nothing.
if grep -q '^alcove-guest: all passed$' "$work/output"; then
    exit 0
fi
grep '^alcove-guest: ' "$work/output" | tail -n 20 >&2
fail "the guest did not say that all passed"
