#!/usr/bin/env bash
# Installs what Syncyte needs to build and run, and nothing that is already there.
#
#   scripts/setup.sh          system packages and libtorch for the CPU
#   scripts/setup.sh --gpu    also the CUDA libraries that libtorch loads on a machine with an NVIDIA GPU
#   scripts/setup.sh --test   also what the tests need: Python programs as independent peers, and the CUDA compiler
#                             NVRTC, which compiles our kernels without a GPU
#   scripts/setup.sh --bench  also annbatch, to compare the loader with, where Python 3.12 or later is found
#
# Everything but the system packages lies under $SYNCYTE_CACHE (default ~/.cache/syncyte). A run that was interrupted
# can be repeated: an environment counts as complete only when its stamp, written last, names the wanted packages.
set -euo pipefail

readonly TORCH='2.11.0'
readonly TORCH_CPU=("torch==$TORCH" 'nvidia-cuda-runtime>=13,<13.1' 'nvidia-cuda-cupti>=13,<13.1')
readonly PEERS=('anndata==0.12.*' 'zarr==3.*' scipy scikit-learn safetensors numpy 'moto[server]==5.*')
# annbatch and what it reads with, the versions that our reports compare with.
readonly BENCH=('annbatch==0.3.1' 'anndata==0.13.4' 'zarr==3.4.2' 'zarrs==0.2.3' h5py)
readonly BENCH_PYTHON_MINIMUM='3.12'
# NVRTC, of the CUDA release that torch is built with.
readonly NVRTC='nvidia-cuda-nvrtc>=13,<13.1'
# What `import torch` opens besides the CPU part. Triton, cuSOLVER and NVRTC, a gigabyte more, are not among it.
readonly PEERS_TORCH=('cuda-toolkit[cublas,cudart,cufft,cufile,cupti,curand,cusparse,nvjitlink]==13.0.2'
  'nvidia-cudnn-cu13==9.19.0.56' 'nvidia-cusparselt-cu13==0.8.0' 'nvidia-nccl-cu13==2.28.9' 'nvidia-nvshmem-cu13==3.4.5'
  filelock typing-extensions 'setuptools<82' sympy networkx jinja2 fsspec)
readonly SYSTEM_PACKAGES=(libopenmpi-dev openmpi-bin libclang-dev libhdf5-dev pkg-config cmake g++)
readonly RUST_MINIMUM='1.91'
readonly PYTHON_MINIMUM='3.11'

cache=${SYNCYTE_CACHE:-$HOME/.cache/syncyte}

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
  exit 1
}

# at_least HAVE WANT: whether version HAVE is WANT or later.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_platform() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    fail "this is $(uname -s) on $(uname -m); the libtorch wheel used here is built for Linux on x86_64"
}

check_rust() {
  local version
  command -v cargo >/dev/null || fail "cargo is missing" \
    "Get Rust $RUST_MINIMUM or later with rustup (https://rustup.rs), then run this again."
  version=$(cargo --version | cut -d ' ' -f 2)
  at_least "$version" "$RUST_MINIMUM" ||
    fail "cargo is $version, but $RUST_MINIMUM or later is needed" "Update it: rustup update stable"
}

python_has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

missing_debian_packages() {
  local package
  for package in "${SYSTEM_PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] || echo "$package"
  done
  if ! command -v python3 >/dev/null; then
    echo python3 python3-venv
  elif ! python_has_venv; then
    echo python3-venv
  fi
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "not root, and sudo is missing" "Have an administrator run: $*"
  fi
}

check_foreign_system() {
  local tool missing=()
  for tool in mpicc mpirun cmake g++ pkg-config python3; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  pkg-config --exists hdf5 2>/dev/null || command -v h5cc >/dev/null || missing+=('HDF5 development files')
  PATH=$PATH:/sbin ldconfig -p 2>/dev/null | grep -q 'libclang[-.]' || missing+=(libclang)
  [ ${#missing[@]} -eq 0 ] || fail "no apt here, and these are missing: ${missing[*]}" \
    "Install by your system's own means: Open MPI 4 or later with its headers, libclang, HDF5 with its headers," \
    "pkg-config, cmake, a C++17 compiler, Python $PYTHON_MINIMUM or later with venv. Then run this again."
}

install_system_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    check_foreign_system
    return
  fi
  local missing
  # shellcheck disable=SC2046
  mapfile -t missing < <(printf '%s\n' $(missing_debian_packages))
  [ -n "${missing[*]}" ] || return 0
  say "installing system packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

check_python() {
  local version
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  at_least "$version" "$PYTHON_MINIMUM" || fail "python3 is $version, but $PYTHON_MINIMUM or later is needed"
}

# site DIR: the package folder of the virtual environment DIR.
site() { echo "$1"/lib/python3*/site-packages; }

complete() { [ -x "$1/bin/python" ] && [ "$(cat "$1/.complete" 2>/dev/null)" = "$2" ]; }

# make_venv DIR [PYTHON]: an environment with a working pip; a broken one is replaced.
make_venv() {
  "$1/bin/python" -m pip --version >/dev/null 2>&1 && return
  rm -rf "$1"
  "${2:-python3}" -m venv "$1"
}

pip_install() {
  local venv=$1
  shift
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-warn-script-location "$@" ||
    fail "pip could not install what it says above" "Check the network and the disk ($cache), then run this again."
}

install_torch() {
  local venv=$cache/torch-venv stamp="${TORCH_CPU[*]}"
  [ "$want_gpu" = no ] || stamp="torch==$TORCH with CUDA"
  # The CUDA set contains the CPU set: a machine that has it needs nothing more.
  if complete "$venv" "$stamp" || complete "$venv" "torch==$TORCH with CUDA"; then return; fi
  make_venv "$venv"
  rm -f "$venv/.complete"
  if [ "$want_gpu" = yes ]; then
    say "installing libtorch $TORCH with CUDA (about 2.5 GB to download)"
    pip_install "$venv" "torch==$TORCH"
  else
    say "installing libtorch $TORCH for the CPU (about 0.5 GB to download)"
    pip_install "$venv" --no-deps "${TORCH_CPU[@]}"
  fi
  echo "$stamp" >"$venv/.complete"
}

# The build sees libtorch through a folder of its own: torch-sys would link libtorch_cuda if it were there.
link_libtorch() {
  local torch links=$cache/libtorch
  torch=$(site "$cache/torch-venv")/torch
  [ -e "$torch/lib/libtorch_cpu.so" ] || fail "$torch holds no libtorch_cpu.so" "Remove $cache/torch-venv and run this again."
  if [ "$(readlink "$links/include")" = "$torch/include" ] && [ -e "$links/lib/libtorch.so" ]; then return; fi
  say "linking $links"
  mkdir -p "$links/lib"
  ln -sfn "$torch/lib/libtorch_cpu.so" "$links/lib/libtorch_cpu.so"
  ln -sfn "$torch/lib/libc10.so" "$links/lib/libc10.so"
  ln -sfn "$torch/lib/libgomp.so.1" "$links/lib/libgomp.so"
  ln -sfn "$torch/include" "$links/include"
  ln -sfn "$torch/lib/libtorch_cpu.so" "$links/lib/libtorch.so"
}

# The peers' PyTorch is the wheel that the build uses, by hard links, so that it is downloaded and stored once.
share_torch() {
  local from to name
  from=$(site "$cache/torch-venv")
  to=$(site "$cache/peers-venv")
  for name in torch torchgen functorch "torch-$TORCH.dist-info"; do
    [ ! -e "$to/$name" ] || continue
    rm -rf "$to/.partial-$name"
    cp -al "$from/$name" "$to/.partial-$name" 2>/dev/null || cp -a "$from/$name" "$to/.partial-$name"
    mv "$to/.partial-$name" "$to/$name"
  done
}

install_peers() {
  local venv=$cache/peers-venv stamp="${PEERS[*]} torch==$TORCH ${PEERS_TORCH[*]}"
  if complete "$venv" "$stamp"; then return; fi
  say "installing the tests' Python peers: ${PEERS[*]} torch (about 1.5 GB to download)"
  # An interrupted environment is finished; one that was complete for other versions is made anew.
  [ ! -e "$venv/.complete" ] || rm -rf "$venv"
  make_venv "$venv"
  pip_install "$venv" "${PEERS[@]}" "${PEERS_TORCH[@]}"
  share_torch
  "$venv/bin/python" -c 'import anndata, zarr, scipy, sklearn, safetensors, moto, torch; torch.ones(2) @ torch.ones(2)' ||
    fail "the Python peers were installed but cannot be imported" "Remove $venv and run this again."
  echo "$stamp" >"$venv/.complete"
}

# bench_python: a Python that annbatch runs on. One of pyenv's that is not switched on answers on the path, but does not run.
bench_python() {
  local python minor=${BENCH_PYTHON_MINIMUM#3.}
  for python in python3.13 python3.12 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python \
    "$(uv python find ">=$BENCH_PYTHON_MINIMUM" 2>/dev/null || true)"; do
    if "$python" -c "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, $minor))" >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
  return 1
}

install_bench() {
  local venv=$cache/annbatch-venv stamp="${BENCH[*]}" python
  if complete "$venv" "$stamp"; then return; fi
  if ! python=$(bench_python); then
    say "annbatch is left out: it needs Python $BENCH_PYTHON_MINIMUM or later, and none was found on the path, under pyenv or by uv"
    return
  fi
  say "installing annbatch with $python: ${BENCH[*]} (about 0.1 GB to download)"
  [ ! -e "$venv/.complete" ] || rm -rf "$venv"
  make_venv "$venv" "$python"
  pip_install "$venv" "${BENCH[@]}"
  "$venv/bin/python" -c 'import annbatch, anndata, h5py, zarr, zarrs' ||
    fail "annbatch was installed but cannot be imported" "Remove $venv and run this again."
  echo "$stamp" >"$venv/.complete"
}

# A folder of its own, so that a library path to it opens no other CUDA library.
install_nvrtc() {
  local folder=$cache/nvrtc
  [ "$(cat "$folder/.complete" 2>/dev/null)" != "$NVRTC" ] || return 0
  say "installing NVRTC (about 90 MB to download)"
  rm -rf "$folder"
  pip_install "$cache/torch-venv" --no-deps --target "$folder" "$NVRTC"
  echo "$NVRTC" >"$folder/.complete"
}

main() {
  want_gpu=no
  want_test=no
  want_bench=no
  local argument
  for argument in "$@"; do
    case $argument in
      --gpu) want_gpu=yes ;;
      --test) want_test=yes ;;
      --bench) want_bench=yes ;;
      -h | --help)
        sed -n '2,11s/^# \{0,1\}//p' "$0"
        return
        ;;
      *) fail "unknown argument '$argument'" "Known: --gpu --test --bench --help" ;;
    esac
  done

  check_platform
  check_rust
  install_system_packages
  check_python
  mkdir -p "$cache"
  # Two set-ups at once would write into one environment.
  exec 9>"$cache/.lock"
  flock -n 9 || { say "waiting for another set-up to end" && flock 9; }
  install_torch
  link_libtorch
  [ "$want_test$want_gpu" = nono ] || install_nvrtc
  [ "$want_test" = no ] || install_peers
  [ "$want_bench" = no ] || install_bench
  say "ready ($cache)"
}

main "$@"
