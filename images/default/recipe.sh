#!/bin/bash
# Makes the root file system of the default image: `recipe.sh WORK_DIR > rootfs.tar`.
#
# Three sources, fetched side by side because together they are bound by the network and not by the
# processor: Debian packages (mmdebstrap), Python wheels (pip, exact hashes) and Node.js with its tools
# (npm, exact hashes). Python libraries come from wheels and not from Debian: python3-matplotlib alone
# brings Tk and half of X11. Node.js comes from npm because Debian 12's version 18 is past its end, and
# Debian's npm is 350 packages that each take their time to be configured.
#
# The clients are those of the host, so its mirrors, proxies and certificates are used as they are set up.
set -euo pipefail

recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$1
release=bookworm

# What was started beside the main work must not outlive it.
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true' EXIT

say() { printf '[%4ss] %s\n' "$SECONDS" "$*" >&2; }

# What is newer than this is given this time in the image, so that two builds on one day are alike.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(($(date +%s) / 86400 * 86400))}

# The host's own lines for this release, without passwords: they would be readable in every sandbox. Where
# the host has none (another release), no line is given and mmdebstrap falls back to Debian's own.
debian_lines() {
    apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
        awk -v release="$release" '
            $1 == "Packages" && $2 ~ /^https?:/ && $4 == "main" &&
            ($3 == release || $3 == release "-updates" || $3 == release "-security") {
                sub("//[^/@]*@", "//", $2); print "deb", $2, $3, $4 }' | sort -u
}

# How this host reaches its mirrors: proxies, certificates, patience. mmdebstrap takes the file out of the
# image when it is done.
apt_options() {
    apt-config dump | grep -E '^Acquire::(https?|Check-|Retries)' || true
}

fetch_python() {
    local platform=() tag
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014; do
        platform+=(--platform "${tag}_x86_64")
    done
    python3 -m pip --disable-pip-version-check install --quiet --no-compile --no-warn-script-location \
        --root-user-action=ignore --ignore-installed --no-deps --require-hashes --only-binary=:all: \
        --python-version 3.11 --implementation cp --abi cp311 "${platform[@]}" \
        --target "$work/python" --requirement "$recipe/python/requirements.txt"
    # Tests of libraries, for nobody who uses them: 30 MiB.
    find "$work/python" -depth -type d -name tests -exec rm -rf {} +
    # pip wrote the path of the host's interpreter into the programs.
    mv "$work/python/bin" "$work/python-bin"
    sed -i '1s|^#!.*|#!/usr/bin/python3|' "$work"/python-bin/*
    # From these to the bytecode that customize.sh writes the times must not move any more.
    find "$work/python" "$work/python-bin" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    say "Python packages fetched"
}

fetch_node() {
    mkdir "$work/node"
    cp "$recipe"/node/package*.json "$work/node/"
    # The warning about engines is about the host's Node.js, which runs none of this.
    (cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    say "Node.js and its tools fetched"
}

debian_lines >"$work/sources.list"
apt_options >"$work/apt-options"
say "fetching Debian packages, Python packages and Node.js"

fetch_python &
python_job=$!
fetch_node &
node_job=$!

excluded=()
for path in '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' '/usr/share/lintian/*'; do
    excluded+=("--dpkgopt=path-exclude=$path")
done
# Licences stay; so does the one file of locales that everything falls back to.
excluded+=('--dpkgopt=path-include=/usr/share/doc/*/copyright' '--dpkgopt=path-include=/usr/share/locale/locale.alias')

sources=()
if [[ -s $work/sources.list ]]; then sources=("$work/sources.list"); fi
mmdebstrap --mode=root --variant=minbase --format=directory \
    --aptopt="$work/apt-options" --aptopt='Acquire::Languages "none"' \
    --dpkgopt=force-unsafe-io "${excluded[@]}" \
    --include="$(grep -v '^#' "$recipe/packages.txt" | paste -sd,)" \
    "$release" "$work/root" "${sources[@]}" >&2
say "Debian packages installed"
wait "$python_job"
wait "$node_job"

"$recipe/customize.sh" "$work"
say "customized: $(du -sm "$work/root" | cut -f1) MiB"

# No device nodes: every sandbox gets a /dev of its own.
tar --create --directory="$work/root" --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --sort=name --numeric-owner --xattrs --xattrs-include='security.capability' \
    --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --exclude='./dev/*' .
