#!/usr/bin/env bash
# Feeds damaged files and odd labels to the readers, each campaign for a while: no panic, no hang, no memory out of
# proportion. The same campaigns run for two seconds each in the tests.
#
#   scripts/fuzz.sh [SECONDS] [SEED]     60 seconds each, from a seed that changes with the day
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

SYNCYTE_FUZZ_SECONDS=${1:-60} SYNCYTE_FUZZ_SEED=${2:-$(date +%Y%m%d)} \
  exec cargo test --release -p syncyte-sharding --test damage -- --nocapture --test-threads 2
