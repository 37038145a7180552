# Sourced (`. scripts/env.sh`) before building or testing: tells cargo, the linker and the tests where things are.
# What is already set in the environment is kept.

SYNCYTE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
export SYNCYTE_CACHE=${SYNCYTE_CACHE:-$HOME/.cache/syncyte}
export LIBTORCH=${LIBTORCH:-$SYNCYTE_CACHE/libtorch}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$SYNCYTE_CACHE/target}
export SYNCYTE_PEERS_PYTHON=${SYNCYTE_PEERS_PYTHON:-$SYNCYTE_CACHE/peers-venv/bin/python}

# The binary finds libtorch by its rpath; the libraries' test programs have none.
if [ -e "$LIBTORCH/lib/libtorch_cpu.so" ]; then
  LD_LIBRARY_PATH=$(dirname "$(readlink -f "$LIBTORCH/lib/libtorch_cpu.so")")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
fi

# NVRTC and its builtins, where scripts/setup.sh put them.
if [ -e "$SYNCYTE_CACHE/nvrtc/.complete" ]; then
  LD_LIBRARY_PATH=$SYNCYTE_CACHE/nvrtc/nvidia/cu13/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
fi

# Open MPI refuses root unless told twice; in a container there is often no one else.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

if [ -z "${SYNCYTE_TEST_DATA:-}" ] && [ -d "$SYNCYTE_ROOT/../shared/data" ]; then
  SYNCYTE_TEST_DATA=$(cd "$SYNCYTE_ROOT/../shared/data" && pwd)
  export SYNCYTE_TEST_DATA
fi
