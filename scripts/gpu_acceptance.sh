#!/usr/bin/env bash
# Shows on a machine with an NVIDIA GPU what Syncyte does there, with a binary that was built elsewhere.
#
#   scripts/gpu_acceptance.sh bundle DIR           where Syncyte was built: puts all that is needed into DIR
#   scripts/gpu_acceptance.sh run DIR REPORT.md    on the GPU machine: runs every check and writes the report; what each
#                                                  step printed is kept in REPORT.d; exit code 0 if all checks passed
#
# The GPU machine needs glibc as new as the build machine's, the driver, and Python with torch 2.11 (PYTHON, default
# python3), whose CUDA libraries Syncyte uses too; no Rust, Open MPI or HDF5. DEVICE=cpu tries the script without a
# GPU and says what it skips. The variables under "Sizes" make it shorter.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}

# Sizes: all of it takes less than nine minutes on an H100 with 16 cores.
LIMIT_S=${LIMIT_S:-520}
PARITY_STEPS=${PARITY_STEPS:-50} PARITY_BATCH=${PARITY_BATCH:-32} PARITY_GENES=${PARITY_GENES:-2000}
CELLS=${CELLS:-5000} TRACE_STEPS=${TRACE_STEPS:-30} RESUME_STEPS=${RESUME_STEPS:-200}
BENCH_BATCHES=${BENCH_BATCHES:-64 512} BENCH_STEPS=${BENCH_STEPS:-20} BENCH_WARMUP=${BENCH_WARMUP:-5}
KERNEL_PARAMETERS=${KERNEL_PARAMETERS:-38700032} KERNEL_TAUGHT=${KERNEL_TAUGHT:-32315904}

say() { printf 'gpu_acceptance: %s\n' "$*"; }
fail() {
  say "error: $*" >&2
  exit 2
}

# make_scratch: a folder that is removed at the end.
make_scratch() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
}

# --- bundle ---------------------------------------------------------------------------------------------------------

# Parts of Open MPI for networks, schedulers, files and OpenSHMEM that are of no use here; their libraries are large.
UNUSED_COMPONENTS='_(ucx|ofi|psm2?|openib|slurm|flux|monitoring|gridengine)[.]'
UNUSED_COMPONENTS+='|mca_(memheap|spml|scoll|sshmem|atomic|io|fs|fbtl|fcoll|sharedfp)_'
# Those of every machine, which must be its own.
GLIBC='/(ld-linux-x86-64|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl|nss_[a-z]+))[.]so'

# libraries FILE...: what they load that neither glibc nor torch brings.
libraries() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | grep -vE "$GLIBC" |
    grep -vE '/torch/lib/|/nvidia/' | sort -u
}

copy_program() {
  mkdir -p "$(dirname "$2")"
  cp "$1" "$2"
  strip "$2"
}

# newest FILE...: the executable that was written last.
newest() {
  local file best=
  for file in "$@"; do
    case $file in *.d | *.rmeta) continue ;; esac
    if [ -x "$file" ] && { [ -z "$best" ] || [ "$file" -nt "$best" ]; }; then best=$file; fi
  done
  echo "$best"
}

copy_openmpi() {
  local to=$1 prefix folder kind file
  command -v ompi_info >/dev/null || fail "no ompi_info, which tells where Open MPI lies (apt-get install openmpi-bin)"
  prefix=$(ompi_info --parsable --path prefix | cut -d : -f 3)
  copy_program "$(readlink -f "$(command -v mpirun)")" "$to/bin/mpirun"
  copy_program "$(readlink -f "$(command -v orted)")" "$to/bin/orted"
  # By OPAL_PREFIX these are looked for below another prefix, at the same places.
  for kind in pkglibdir pkgdatadir; do
    folder=$(ompi_info --parsable --path "$kind" | cut -d : -f 3)
    mkdir -p "$to${folder#"$prefix"}"
    for file in "$folder"/mca_*.so "$folder"/help-*.txt; do
      if [ -f "$file" ] && ! [[ $file =~ $UNUSED_COMPONENTS ]]; then cp "$file" "$to${folder#"$prefix"}/"; fi
    done
  done
}

collect() {
  local to=$1 tests file files
  copy_program "$2" "$to/bin/syncyte"
  tests=$(newest "$CARGO_TARGET_DIR"/release/deps/syncyte_kernels-*)
  if [ -n "$tests" ]; then
    copy_program "$tests" "$to/bin/kernels-tests"
  else
    say "without the tests of the kernels: cargo test --release -p syncyte-kernels --no-run builds them"
  fi
  copy_openmpi "$to/openmpi"
  mkdir -p "$to"/{lib,configs,scripts,tests/peers}
  mapfile -t files < <(find "$to" -type f \( -name '*.so' -o -path '*/bin/*' \))
  for file in $(libraries "${files[@]}"); do cp -L "$file" "$to/lib/"; done
  cp "$HERE"/configs/*.toml "$to/configs/"
  cp "$HERE"/tests/peers/{torch_ddp_step,jepa_fast,jepa_reference,gpu_report}.py "$to/tests/peers/"
  cp "$HERE/scripts/gpu_acceptance.sh" "$to/scripts/"
}

bundle() {
  local to=$1 binary
  # shellcheck source=scripts/env.sh
  . "$HERE/scripts/env.sh"
  binary=${SYNCYTE_BIN:-$CARGO_TARGET_DIR/release/syncyte}
  [ -x "$binary" ] || fail "no $binary; make build makes it, SYNCYTE_BIN names another"
  [ ! -e "$to" ] || [ -z "$(ls -A "$to")" ] || fail "$to is not empty"
  make_scratch
  collect "$scratch/bundle" "$binary"
  mkdir -p "$to/scripts"
  tar -C "$scratch/bundle" -czf "$to/bundle.tar.gz" .
  cp "$HERE/scripts/gpu_acceptance.sh" "$to/scripts/"
  say "$to: $(du -sm "$to" | cut -f 1) MB, unpacked $(du -sm "$scratch/bundle" | cut -f 1) MB," \
    "for glibc $(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2) or later"
}

# --- run ------------------------------------------------------------------------------------------------------------

# Folders of torch's own libraries and of the CUDA wheels beside it, separated by colons.
torch_folders() {
  "$PYTHON" - <<'PYTHON'
import glob, os, torch
torch_lib = os.path.join(os.path.dirname(torch.__file__), "lib")
site = os.path.dirname(os.path.dirname(torch.__file__))
print(":".join([torch_lib, *sorted(glob.glob(os.path.join(site, "nvidia/*/lib")))]))
PYTHON
}

left() { echo $((LIMIT_S - SECONDS)); }

# record NAME STATUS SECONDS TEXT: a line of the list that the report is made from.
record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$out/steps.tsv"; }

skip() {
  say "$1: skipped, $2"
  record "$1" skip 0 "$2"
}

# step NAME LIMIT COMMAND...: runs it, whatever came before, and keeps what it prints and how it ends.
step() {
  local name=$1 limit=$2 status=0 begin=$SECONDS words
  shift 2
  if [ "$(left)" -lt 5 ]; then
    # Not a pass: what was not run is not accepted.
    record "$name" late 0 "the $LIMIT_S s of all steps were over"
    return
  fi
  [ "$limit" -le "$(left)" ] || limit=$(left)
  timeout -k 5 "$limit" "$@" >"$out/$name.out" 2>"$out/$name.err" </dev/null || status=$?
  # The environment is the same for all steps of ours, and stands in the report once.
  [ "$1" != env ] || shift ${#native[@]}
  printf -v words '%q ' "$@"
  words=${words//"$bundle/"/}
  record "$name" "$status" $((SECONDS - begin)) "${words//"$scratch/"/}"
  say "$name: exit code $status, $((SECONDS - begin)) s"
}

# What a program of the bundle needs around it, for `step`; Python keeps its own.
native=()
set_native() {
  local folders=$1
  native=(env "LD_LIBRARY_PATH=$bundle/lib:$folders" "PATH=$bundle/openmpi/bin:$PATH" "OPAL_PREFIX=$bundle/openmpi"
    OMPI_MCA_plm=isolated OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
  # There "auto" must not find a GPU.
  [ "$DEVICE" = cuda ] || native+=(CUDA_VISIBLE_DEVICES=)
  printf '%s\n' "${native[@]:1}" >"$out/environment.txt"
}

# on cpu|gpu: the setting that says where training computes; none where the CPU stands for the GPU.
on() {
  [ "$DEVICE" = cuda ] || return 0
  case $1 in
    cpu) printf '%s\n' --set engine.device=cpu ;;
    gpu) printf '%s\n' --set engine.device=cuda ;;
  esac
}

# small PLACE PRECISION: steps that the CPU can do too. At the learning rate of the configuration, without a warm-up, the
# losses jump and rounding grows: two instruction sets of one CPU differ by 5e-2 after 50 steps. At this one they differ
# by 1e-8, and the loss still falls by a fifth.
small() {
  printf '%s\n' bench step --json --config "$bundle/configs/bench_e1.toml" --set "engine.precision=$2" \
    --set optimizer.lr=1e-5 --set optimizer.lr_min=1e-5 \
    --batch "$PARITY_BATCH" --genes "$PARITY_GENES" --warmup 2 --steps $((PARITY_STEPS - 2))
  on "$1"
}

check_machine() {
  step libraries 20 "${native[@]}" ldd "$bundle/bin/syncyte"
  step doctor 60 "${native[@]}" "$bundle/bin/syncyte" doctor --json
}

check_kernels() {
  if [ -x "$bundle/bin/kernels-tests" ]; then
    step kernel_tests 90 "${native[@]}" "$bundle/bin/kernels-tests" cuda --test-threads 4
  else
    skip kernel_tests "the bundle holds no tests of the kernels"
  fi
  if [ "$DEVICE" = cuda ]; then
    step bench_kernels 90 "${native[@]}" "$bundle/bin/syncyte" bench kernels --device cuda --json \
      --parameters "$KERNEL_PARAMETERS" --taught "$KERNEL_TAUGHT"
  else
    step bench_kernels 60 "${native[@]}" "$bundle/bin/syncyte" bench kernels --json --turns 2 \
      --parameters "$KERNEL_PARAMETERS" --taught "$KERNEL_TAUGHT"
  fi
}

check_parity() {
  local precision place words
  for precision in f32 bf16; do
    for place in cpu gpu; do
      mapfile -t words < <(small "$place" "$precision")
      step "parity_${precision}_$place" 110 "${native[@]}" "$bundle/bin/syncyte" "${words[@]}"
    done
  done
}

nccl_version() {
  "$PYTHON" "$bundle/tests/peers/gpu_report.py" nccl "$out" || true
}

check_ranks() {
  local words version multi=() host=(--set engine.device_collectives=host)
  [ "$DEVICE" = cuda ] || host=()
  mapfile -t words < <(small gpu f32)
  step two_ranks_gpu_host 60 "${native[@]}" "$bundle/bin/syncyte" launch -n 2 -- syncyte "${words[@]}" "${host[@]}"
  if [ "$DEVICE" = cpu ]; then
    step one_rank_launched 60 "${native[@]}" mpirun -n 1 --bind-to none "$bundle/bin/syncyte" "${words[@]}"
    skip nccl_one_rank "NCCL needs a GPU"
    skip nccl_two_ranks "NCCL needs a GPU"
    return
  fi
  step nccl_one_rank 60 "${native[@]}" mpirun -n 1 --bind-to none "$bundle/bin/syncyte" "${words[@]}" \
    --set engine.device_collectives=nccl
  version=$(nccl_version)
  # Two ranks on one GPU: refused before 2.30, and the refusal is what is checked then.
  if [ "$version" = shares ]; then multi=(NCCL_MULTI_RANK_GPU_ENABLE=1 NCCL_MAX_CTAS=4); fi
  step nccl_two_ranks 60 "${native[@]}" "${multi[@]}" "$bundle/bin/syncyte" launch -n 2 -- \
    syncyte "${words[@]}" --set engine.device_collectives=nccl --set engine.startup_timeout_s=30
  mapfile -t words < <(small cpu f32)
  step two_ranks_cpu 90 "${native[@]}" "$bundle/bin/syncyte" launch -n 2 -- syncyte "${words[@]}"
}

make_cells() {
  step synth 60 "${native[@]}" "$bundle/bin/syncyte" --json store synth "$scratch/cells.zarr" --preset demo \
    --cells "$CELLS" --genes 500 --perturbations 30
  step split 20 "${native[@]}" "$bundle/bin/syncyte" --json store split "$scratch/cells.zarr" --scheme cells \
    --out "$scratch/split.json"
}

# pretraining NAME STEPS: the words of a run on the demo's model.
pretraining() {
  printf '%s\n' pretrain --json --config "$bundle/configs/demo.toml" --set "run.dir=$scratch/$1" \
    --set "data.store=$scratch/cells.zarr" --set "data.split=$scratch/split.json" --set "engine.steps=$2" \
    --set data.threads=2
  on gpu
}

check_trace() {
  local words ranks=(mpirun -n 1 --bind-to none) collectives=(--set engine.device_collectives=nccl)
  # On the CPU a world of one has nothing to reduce.
  if [ "$DEVICE" = cpu ]; then ranks=("$bundle/bin/syncyte" launch -n 2 --) collectives=(); fi
  mapfile -t words < <(pretraining trace "$TRACE_STEPS")
  step trace 60 "${native[@]}" "${ranks[@]}" "$bundle/bin/syncyte" "${words[@]}" "${collectives[@]}" \
    --set "metrics.trace_from=$((TRACE_STEPS / 2))" --set "metrics.trace_to=$TRACE_STEPS"
  cp "$scratch"/trace/trace-rank-*.json "$out/" 2>/dev/null || true
}

# killed COMMAND...: starts it and kills it once its first checkpoint is whole.
killed() {
  local folder=$1 pid
  shift
  "$@" &
  pid=$!
  while kill -0 "$pid" 2>/dev/null && ! compgen -G "$folder/checkpoints/step-*/MANIFEST.json" >/dev/null; do
    sleep 0.02
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" || true
}

check_resume() {
  local words every=$((RESUME_STEPS / 10))
  mapfile -t words < <(pretraining whole "$RESUME_STEPS")
  step resume_whole 60 "${native[@]}" "$bundle/bin/syncyte" "${words[@]}" --set "checkpoint.every=$every"
  # If two whole runs differ, so may a resumed one.
  mapfile -t words < <(pretraining again "$RESUME_STEPS")
  step resume_again 60 "${native[@]}" "$bundle/bin/syncyte" "${words[@]}" --set "checkpoint.every=$every"
  mapfile -t words < <(pretraining broken "$RESUME_STEPS")
  step resume_killed 60 "${native[@]}" bash "$bundle/scripts/gpu_acceptance.sh" killed "$scratch/broken" \
    "$bundle/bin/syncyte" "${words[@]}" --set "checkpoint.every=$every"
  step resume_rest 60 "${native[@]}" "$bundle/bin/syncyte" "${words[@]}" --resume --set "checkpoint.every=$every"
}

# peer NAME LIMIT BATCH PRECISION WORDS...: PyTorch on the same step, with its own libraries.
peer() {
  local name=$1 limit=$2 batch=$3 precision=$4
  shift 4
  step "$name" "$limit" "$PYTHON" "$bundle/tests/peers/torch_ddp_step.py" --json --ranks 1 --device "$DEVICE" \
    --threads "$(nproc)" --batch "$batch" --dtype "$precision" --steps "$BENCH_STEPS" --warmup "$BENCH_WARMUP" "$@"
}

check_speed() {
  local batch precision words
  for batch in $BENCH_BATCHES; do
    for precision in f32 bf16; do
      mapfile -t words < <(on gpu)
      step "step_${precision}_$batch" 60 "${native[@]}" "$bundle/bin/syncyte" bench step --json \
        --config "$bundle/configs/bench_e1.toml" --set "engine.precision=$precision" --batch "$batch" \
        --steps "$BENCH_STEPS" --warmup "$BENCH_WARMUP" "${words[@]}"
      peer "eager_${precision}_$batch" 60 "$batch" "$precision"
    done
  done
}

# Last, since compiling takes longest and says least of Syncyte.
check_compiled() {
  local batch precision reason=
  if [ "$DEVICE" = cpu ]; then
    reason="compiling for the CPU takes minutes"
  elif ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    reason="torch.compile needs a C compiler, and there is none"
  fi
  for batch in $BENCH_BATCHES; do
    for precision in f32 bf16; do
      if [ -n "$reason" ]; then
        skip "compiled_${precision}_$batch" "$reason"
      else
        peer "compiled_${precision}_$batch" 80 "$batch" "$precision" --compile
      fi
    done
  done
}

run() {
  local report=$2 folders
  [ -f "$1/bundle.tar.gz" ] || fail "$1 holds no bundle.tar.gz, which 'bundle' makes"
  case $DEVICE in cpu | cuda) ;; *) fail "DEVICE=$DEVICE; known are cuda and cpu" ;; esac
  out=$(realpath -m "${report%.md}.d")
  [ ! -e "$out" ] || fail "$out is there already"
  make_scratch
  bundle=$scratch/bundle
  mkdir -p "$out" "$bundle"
  tar -C "$bundle" -xzf "$1/bundle.tar.gz"
  folders=$(torch_folders) || fail "$PYTHON cannot import torch; PYTHON names another"
  set_native "$folders"
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv,noheader \
    >"$out/nvidia-smi.txt" 2>/dev/null || true
  check_machine
  check_kernels
  check_parity
  check_ranks
  make_cells
  check_trace
  check_resume
  check_speed
  check_compiled
  "$PYTHON" "$bundle/tests/peers/gpu_report.py" write "$out" "$report" --device "$DEVICE" --bundle "$bundle"
}

case ${1:-} in
  bundle)
    [ $# -eq 2 ] || fail "usage: bundle DIR"
    bundle "$2"
    ;;
  run)
    [ $# -eq 3 ] || fail "usage: run DIR REPORT.md"
    run "$2" "$3"
    ;;
  # A step of `run`.
  killed) killed "${@:2}" ;;
  *)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    [ "${1:-}" = --help ] || exit 2
    ;;
esac
