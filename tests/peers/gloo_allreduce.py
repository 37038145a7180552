"""All-reduce of f32 buffers in PyTorch's gloo: what `syncyte bench allreduce` is compared with.

    python tests/peers/gloo_allreduce.py      # a JSON list, one entry for each size from 64 KiB to 64 MiB

A time is that of the slowest rank. `busbw_gb_s` is NCCL's bus bandwidth, 2 (R − 1) / R · bytes / time, of the median, in
1e9 bytes a second.
"""

import argparse
import json
import os
import tempfile
import time

import torch
from torch import distributed, multiprocessing

KIB = 1024


def measure(size, args):
    """Times in microseconds of all-reducing `size` bytes."""
    x = torch.ones(size // 4)
    times = torch.empty(args.warmup + args.repeats, dtype=torch.float64)
    for repeat in range(len(times)):
        # Ones again, lest the sums grow beyond f32. The barrier keeps a late rank out of the others' time.
        x.fill_(1)
        distributed.barrier()
        start = time.perf_counter()
        distributed.all_reduce(x)
        times[repeat] = 1e6 * (time.perf_counter() - start)
    if not bool((x == args.ranks).all()):
        raise SystemExit(f"gloo's sum of {size} bytes is wrong")
    distributed.all_reduce(times, distributed.ReduceOp.MAX)
    return times[args.warmup:]


def run_rank(rank, args, store):
    torch.set_num_threads(args.threads)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=args.ranks)
    result, size = [], 64 * KIB
    while size <= args.largest * KIB * KIB:
        times = measure(size, args)
        median = times.quantile(0.5).item()
        result.append({
            "bytes": size, "median_us": median, "p95_us": times.quantile(0.95).item(),
            "busbw_gb_s": 2 * (args.ranks - 1) / args.ranks * size / median / 1e3,
        })
        size *= args.factor
    distributed.destroy_process_group()
    if rank == 0:
        print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--largest", type=int, default=64, help="MiB")
    parser.add_argument("--factor", type=int, default=2, help="from one size to the next")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(run_rank, (args, os.path.join(folder, "store")), args.ranks)


if __name__ == "__main__":
    main()
