#!/bin/bash
# Makes the root file system of the tiny image for tests: `recipe.sh WORK_DIR > rootfs.tar`.
#
# One static program of the host's package busybox-static, a link for each of its commands, and the few
# files without which a user has no name.
set -euo pipefail

work=$1
root=$work/root
busybox=$(command -v busybox) || { echo "busybox is missing: install the package busybox-static" >&2; exit 1; }
if ldd "$busybox" >/dev/null 2>&1; then
    echo "$busybox needs shared libraries: install the package busybox-static" >&2
    exit 1
fi

mkdir -p "$root"/{bin,etc,home,root,usr,var,dev,proc,sys,run}
mkdir -m 1777 "$root/tmp"
chmod 0700 "$root/root"
ln -s ../bin "$root/usr/bin"
ln -s bin "$root/sbin"
install -m 0755 "$busybox" "$root/bin/busybox"
"$busybox" --list | while read -r name; do
    [[ $name == busybox ]] || ln -s busybox "$root/bin/$name"
done

printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'daytona:x:1000:1000::/home/daytona:/bin/sh' \
    'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'daytona:x:1000:' 'nogroup:x:65534:' >"$root/etc/group"
printf '%s\n' /bin/sh /bin/ash >"$root/etc/shells"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
chown -R 0:0 "$root"
install -d -m 0755 -o 1000 -g 1000 "$root/home/daytona"

tar --create --directory="$root" --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --sort=name --numeric-owner --mtime=@0 .
