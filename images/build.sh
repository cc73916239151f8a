#!/bin/bash
# Makes an image from its recipe in this folder, as an OCI layout archive.
#
#   images/build.sh NAME OUT.oci.tar      always builds
#   images/build.sh --cached DIR NAME     builds only if DIR has no archive of this very recipe;
#                                         prints the archive's path either way
#
# NAME is `default` or `busybox`. Needs root (for chroot, and to keep owners), and the program `alcove` that
# does the packing: $ALCOVE_BIN, or target/release/alcove. Nothing is left behind but the archive.
set -euo pipefail

images=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "images/build.sh: $*" >&2
    exit 1
}

# A recipe is all that makes a difference to what comes out, this script included.
recipe_hash() {
    (cd "$images" && find "$1" build.sh -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

if [[ ${1:-} == --cached ]]; then
    [[ $# -eq 3 ]] || fail "usage: build.sh --cached DIR NAME"
    cache=$2 name=$3
    [[ -x $images/$name/recipe.sh ]] || fail "there is no image called $name"
    archive=$cache/$name-$(recipe_hash "$name").oci.tar
    if [[ ! -f $archive ]]; then
        mkdir -p "$cache"
        "$images/build.sh" "$name" "$archive" >&2
        # Archives of earlier recipes are of no use to anybody.
        find "$cache" -maxdepth 1 -name "$name-*.oci.tar" ! -path "$archive" -delete
    fi
    echo "$archive"
    exit
fi

[[ $# -eq 2 ]] || fail "usage: build.sh NAME OUT.oci.tar"
name=$1
out=$(realpath --canonicalize-missing "$2")
[[ -x $images/$name/recipe.sh ]] || fail "there is no image called $name"
[[ $EUID -eq 0 ]] || fail "must be run as root"

# In a mount namespace of its own, so that the memory file system below is gone with the last process, however
# that ends.
if [[ -z ${ALCOVE_IMAGE_NAMESPACE:-} ]]; then
    ALCOVE_IMAGE_NAMESPACE=1 exec unshare --mount --propagation private "$images/build.sh" "$@"
fi
unset ALCOVE_IMAGE_NAMESPACE

alcove=${ALCOVE_BIN:-$images/../target/release/alcove}
[[ -x $alcove ]] || fail "$alcove is missing: run make build, or set ALCOVE_BIN"

work=$(mktemp -d "${TMPDIR:-/tmp}/alcove-image.XXXXXX")
cleanup() {
    # The jobs first: they would write on.
    local jobs
    jobs=$(jobs -p)
    # shellcheck disable=SC2086 # one word a job
    [[ -z $jobs ]] || kill $jobs 2>/dev/null || true
    rm -f "$out.partial"
    umount -l "$work" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
chmod 0755 "$work"

# Unpacking packages is ten thousand small files, each synced: on a disk that takes four times as long. The
# default image needs 1.1 GiB at its peak; without twice that to spare, the disk it is.
available_kib=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
if ((available_kib > 3 * 1024 * 1024)); then
    mount -t tmpfs -o size=2560m,mode=0755 alcove-image "$work" ||
        echo "cannot mount a memory file system; building on the disk, which is slow" >&2
fi

mkdir -p "$(dirname "$out")"
echo "building the image $name" >&2
# What the shell of this process set up for itself must not get into the image.
umask 022
# A recipe that breaks off would look like a small image to the packer, so the name comes last.
"$images/$name/recipe.sh" "$work" |
    "$alcove" image pack --config "$images/$name/config.json" --out "$out.partial" >&2
mv "$out.partial" "$out"
echo "built $out in $SECONDS s, $(du -m "$out" | cut -f1) MiB" >&2
