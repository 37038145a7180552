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
# The peers are installed by now: a test that does not find them fails instead of skipping.
export SYNCYTE_REQUIRE_PEERS=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The status of cargo, not of tee, decides; the counts are printed either way.
status=0
cargo test --release --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?
printf '\n'
# A test that leaves something out says so in a line of its own, and counts as passed to cargo.
awk -v seconds="$SECONDS" '
  /^test result:/ { passed += $4; failed += $6; ignored += $8 }
  match($0, /skipped: .*/) && !seen[substr($0, RSTART)]++ { said[++skipped] = substr($0, RSTART) }
  END {
    printf "all checks ended after %d s\n", seconds
    for (i = 1; i <= skipped; i++) print said[i]
    printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored + skipped
  }' "$log"
exit "$status"
