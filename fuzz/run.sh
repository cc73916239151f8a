#!/bin/bash
# Runs a fuzz target for some time: fuzz/run.sh TARGET SECONDS [LIBFUZZER-OPTION]...
#
# Needs the toolchain of the tree and a C++ compiler, nothing else: libFuzzer comes with its crate, and the compiler's own
# pass counts which branches were taken. What is found on the way stays in .cache/fuzz; input that fails goes to the
# target's corpus as failure-…, where the tests of its crate replay it from then on. Commit it with its fix.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:?"target: one of $(cd "$here/corpus" && echo *)"}
seconds=${2:?seconds}
shift 2
[[ -d $here/corpus/$target ]] || { echo "fuzz/run.sh: $target has no corpus" >&2; exit 2; }

host=$(cd "$here" && rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-$here/../target}/fuzz
# With a target given, programs of the build itself are not counted.
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=3
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Ccodegen-units=4
)
(cd "$here" && RUSTFLAGS="${flags[*]}" cargo build --quiet --locked --target "$host" --target-dir "$out" --bin "$target")

found=$here/../.cache/fuzz/$target
mkdir -p "$found"
exec "$out/$host/debug/$target" "$found" "$here/corpus/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$here/corpus/$target/failure-" "$@"
