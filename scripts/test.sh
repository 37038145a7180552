#!/usr/bin/env bash
# Everything a change must pass: format, lints, documentation, tests. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

step() { printf '\n=== %s (%d s)\n' "$1" "$SECONDS"; }

step 'format'
cargo fmt --all --check
step 'lints'
cargo clippy --release --workspace --all-targets -- -D warnings
step 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps
step 'tests'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The status of cargo, not of tee, decides; the counts are printed either way.
status=0
cargo test --release --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?
printf '\n'
awk -v seconds="$SECONDS" '
  /^test result:/ { passed += $4; failed += $6; skipped += $8 }
  END {
    printf "all checks ended after %d s\n", seconds
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
  }' "$log"
exit "$status"
