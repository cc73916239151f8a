#!/bin/bash
# Installs what building and running need, as far as it is missing: Debian packages, and the Rust toolchain.
set -euo pipefail

declare -A packages=(
    [mkfs.xfs]=xfsprogs [mkfs.ext4]=e2fsprogs [nft]=nftables [ip]=iproute2 [mmdebstrap]=mmdebstrap [zstd]=zstd [busybox]=busybox-static
    [gcc]=build-essential [make]=make [curl]=curl [npm]=npm [python3]=python3-venv
    [losetup]=mount [git]=git [docker-registry]=docker-registry [buildah]=buildah
    [ssh]=openssh-client [rsync]=rsync [pebble]=pebble [dns2tcpc]=dns2tcp
    [skopeo]=skopeo [update-ca-certificates]=ca-certificates [chromium]=chromium [go]=golang-go
)
missing=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || [[ -x /usr/sbin/$program || -x /sbin/$program || -x /usr/local/go/bin/$program ]] || missing+=("${packages[$program]}")
done
# Debian has two packages with a program of this name; only this one runs in an empty root.
if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
    missing+=(busybox-static)
fi
# Debian's Python comes without what makes a virtual environment.
if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi
# Its programs stand in a folder of each version, and only the tests start it: no server of the system is wanted.
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    missing+=(postgresql)
fi
# Of this one too only tests start instances of their own.
if [[ " ${missing[*]-} " == *" docker-registry "* && -d /run/systemd/system ]]; then
    systemctl mask --quiet docker-registry.service
fi
if ((${#missing[@]})); then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
fi

# Could not be tried where this was written: there the toolchain was always present.
if ! command -v cargo >/dev/null; then
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
fi

# Another S3 store, for the tests of what we keep in one.
here=$(dirname "$0")/..
store=$here/.cache/s3-store
wanted=$here/crates/storage/tests/foreign/requirements.txt
if ! cmp -s "$wanted" "$store/requirements.txt"; then
    echo "installing a store for tests"
    rm -rf "$store"
    python3 -m venv "$store"
    "$store/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$store/requirements.txt"
fi
