#!/bin/bash
# Renews the versions and hashes of what the default image takes from PyPI and npm. Read the difference before
# you commit it: this is what runs in every sandbox.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/default"

report=$(mktemp)
trap 'rm -f "$report"' EXIT
platform=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014; do
    platform+=(--platform "${tag}_x86_64")
done
python3 -m pip --disable-pip-version-check install --quiet --dry-run --ignore-installed --target /nonexistent \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 "${platform[@]}" \
    --report "$report" --requirement python/requirements.in
python3 - "$report" >python/requirements.txt <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as file:
    packages = json.load(file)["install"]
print("# Written by `make images-lock` from requirements.in: wheels for CPython 3.11 on x86-64, with hashes.\n")
lines = []
for package in packages:
    name = package["metadata"]["name"].lower().replace("_", "-")
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    lines.append(f"{name}=={package['metadata']['version']} --hash=sha256:{digest}")
print("\n".join(sorted(lines)))
PYTHON

# The versions in package.json are exact and are changed by hand; this follows with all that they need.
# Without addresses: each host fetches from the registry that it is set up for.
cd node
npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
