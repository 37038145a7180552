"""Syncyte's pretraining step in PyTorch's DistributedDataParallel: what `syncyte bench step` is compared with.

    python tests/peers/torch_ddp_step.py --ranks 2 --json                    # f32 as PyTorch computes it
    python tests/peers/torch_ddp_step.py --ranks 2 --json --linear onednn    # the fastest f32 on AMD's processors
    python tests/peers/torch_ddp_step.py --ranks 2 --json --dtype bf16 --compile

PyTorch 2.11; gloo on CPU, NCCL on CUDA; one rank runs without DDP. The step is that of `configs/bench_e1.toml`: teacher
and student pass, loss, backward with all-reduce, clipping, AdamW, moving average. The batch is made before the clock
starts; on CUDA it is copied to the GPU within the step, from pinned memory. It does what Syncyte's does but for two things, both in the peer's favour: variance and covariance are those of
the rank's own cells, as is usual with DDP, so nothing but gradients crosses ranks, and condition tokens are not padded.

The peer is meant to be as fast as PyTorch can be without giving up f32 master weights. Tried on two cores of a Zen 5:

- f32 products: `nn.Linear` calls MKL, which reaches 90 GFLOP/s a core there, oneDNN 200. Hence `--linear onednn`; the
  step then takes little more than half the time. Allowing bf16 inside f32 products (`set_float32_matmul_precision`)
  would not be f32.
- attention on CPU: the fused kernel is the fastest in f32; in bf16 it is not, see `attend` in `jepa_fast.py`.
  `--attention torch` takes it all the same, as a model written in PyTorch does.
- `torch.compile`: a tenth faster in bf16, no faster in f32, after minutes of compiling.
- DDP: without `gradient_as_bucket_view` slower; `static_graph`, buckets of 5, 25 and 100 MB and `zero_grad` to None or
  to zeros are within the spread of each other.
- CUDA: times are those of events on the device, with one wait for all steps at the end, so that Python runs ahead of the
  GPU; `step_ms_wall_mean` is the same by the wall clock. f32 products are f32: TF32 is off (`tf32` in the answer), as in
  Syncyte. `torch.compile` needs Triton and a C compiler there.
- memory: glibc without mmap and trimming, and huge pages (`THP_MEM_ALLOC_ENABLE`), within the spread or slower.
"""

import argparse
import contextlib
import copy
import json
import os
import tempfile
import time
import tomllib
from pathlib import Path

import jepa_fast
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

CONFIG = Path(__file__).resolve().parents[2] / "configs/bench_e1.toml"
# What configs/bench_e1.toml leaves to the data: 38.7 million parameters in all.
GENES, TARGETS = 5000, 231
# Batches that are made beforehand and cycled through.
BATCHES = 4
PHASES = ["data", "forward", "backward", "optimizer"]


def load_config(path):
    config = tomllib.loads(Path(path).read_text())
    model = config["model"]
    kinds = [model[part]["kind"] for part in ("encoder", "perturbation", "predictor")]
    objective = config["objective"]["tasks"] + config["objective"]["losses"]
    known = ["gene_mlp", "gene_embedding", "cross_attention"], ["paired", "smooth_l1", "vicreg"]
    if (kinds, objective) != known or model["residual"]:
        raise SystemExit(f"{path}: the peer knows {known} without residual, not {kinds}, {objective}")
    return config


def make_student(config, genes=GENES, targets=TARGETS):
    return jepa_fast.Student(config["model"], genes, targets)


def adamw(student, config):
    """Fused AdamW as Syncyte's: weight decay for the matrices of layers only."""
    tables = {f"perturbation.{name}" for name in ("targets", "null", "kind", "context")} | {"encoder.position"}
    groups = {True: [], False: []}
    for name, p in student.named_parameters():
        groups[p.dim() > 1 and name not in tables].append(p)
    return torch.optim.AdamW(
        [{"params": ps, "weight_decay": config["weight_decay"] * decays} for decays, ps in groups.items()],
        lr=config["lr"],
        betas=(config["beta1"], config["beta2"]),
        eps=config["eps"],
        fused=True,
    )


def make_batches(args, rank):
    """Log-normalised cells, half of the values zero, and conditions: (control, perturbed, condition)."""
    random = torch.Generator().manual_seed(1 + rank)

    def cells():
        x = torch.empty(args.batch, args.genes).exponential_(generator=random).log1p_()
        return x * torch.empty_like(x).bernoulli_(0.5, generator=random)

    def batch():
        targets = torch.randint(args.targets, (args.batch,), generator=random)
        one = torch.zeros_like(targets)
        return cells(), cells(), (targets, one, one, torch.zeros(args.batch))

    def pinned(x):
        return tuple(map(pinned, x)) if isinstance(x, tuple) else x.pin_memory() if args.device == "cuda" else x

    return [pinned(batch()) for _ in range(BATCHES)]


def to_device(x, device):
    return tuple(to_device(y, device) for y in x) if isinstance(x, tuple) else x.to(device, non_blocking=True)


def settle(device):
    """Waits for what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Times in milliseconds between marks; on CUDA of the device's own work, which is over when they are read."""

    def __init__(self, device):
        self.cuda, self.marks = device.type == "cuda", []

    def mark(self):
        if self.cuda:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def between(self):
        if self.cuda:
            return [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]
        return [1e3 * (b - a) for a, b in zip(self.marks, self.marks[1:])]


def train(rank, args, device):
    """Steps of one rank: losses, times by step and phase, mean step by the wall clock, parameters."""
    config = load_config(args.config)
    torch.manual_seed(config["run"]["seed"])
    student = make_student(config, args.genes, args.targets).to(device)
    teacher = copy.deepcopy(student.encoder).requires_grad_(False).eval()
    encoder, mean = [p.detach() for p in student.encoder.parameters()], list(teacher.parameters())
    optimizer, limit = adamw(student, config["optimizer"]), config["optimizer"]["clip"]
    parameters, keep = list(student.parameters()), config["teacher"]["momentum"]
    model = student
    if args.ranks > 1:
        ids = [device] if args.device == "cuda" else None
        model = DistributedDataParallel(student, device_ids=ids, gradient_as_bucket_view=True, static_graph=True)
    if args.compile:
        model, teacher = torch.compile(model), torch.compile(teacher)
    batches = make_batches(args, rank)
    torch.manual_seed(rank)

    def autocast():
        return torch.autocast(args.device, torch.bfloat16) if args.dtype == "bf16" else contextlib.nullcontext()

    losses, times, began = [], [], 0.0
    for step in range(args.warmup + args.steps):
        if step == args.warmup:
            settle(device)
            began = time.perf_counter()
        clock = Clock(device)
        clock.mark()
        control, perturbed, condition = to_device(batches[step % BATCHES], device)
        clock.mark()
        with autocast():
            with torch.no_grad():
                wanted = teacher(perturbed)
            loss = model(control, condition, wanted)
        clock.mark()
        loss.backward()
        clock.mark()
        nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
        optimizer.step()
        torch._foreach_lerp_(mean, encoder, 1 - keep)
        optimizer.zero_grad(set_to_none=True)
        clock.mark()
        losses.append(loss.detach())
        times.append(clock)
    settle(device)
    wall = 1e3 * (time.perf_counter() - began) / args.steps
    return torch.stack(losses).cpu(), torch.tensor([clock.between() for clock in times[args.warmup:]]), wall, parameters


def run_rank(rank, args, store):
    torch.set_num_threads(args.threads)
    device = torch.device(args.device, rank) if args.device == "cuda" else torch.device("cpu")
    if args.device == "cuda":
        torch.cuda.set_device(device)
    jepa_fast.TORCH_ATTENTION = args.attention == "torch"
    if args.linear == "onednn":
        jepa_fast.use_onednn()
    if args.ranks > 1:
        backend = "nccl" if args.device == "cuda" else "gloo"
        distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=args.ranks)
    # PyTorch's default, said so that no other default comes in: f32 products are computed in f32.
    torch.set_float32_matmul_precision("highest")
    losses, times, wall, parameters = train(rank, args, device)
    steps = times.sum(1)
    if args.ranks > 1:
        # A step lasts until its slowest rank is through.
        steps, losses = steps.to(device), losses.to(device)
        distributed.all_reduce(steps, distributed.ReduceOp.MAX)
        distributed.all_reduce(losses)
        steps, losses = steps.cpu(), losses.cpu() / args.ranks
        distributed.destroy_process_group()
    if rank == 0:
        report(args, losses, steps, times.quantile(0.5, 0).tolist(), wall, sum(p.numel() for p in parameters))


def report(args, losses, steps, phases, wall, parameters):
    median = steps.quantile(0.5).item()
    result = {
        "peer": "torch ddp", "ranks": args.ranks, "threads": args.threads, "dtype": args.dtype, "device": args.device,
        "linear": args.linear, "attention": args.attention, "compile": args.compile, "batch": args.batch, "steps": args.steps,
        "step_ms_median": median, "step_ms_min": steps.min().item(), "step_ms_p95": steps.quantile(0.95).item(),
        "step_ms_wall_mean": wall, "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cuda.matmul.allow_tf32, "device_name": device_name(args),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if args.device == "cuda" else None,
        # A pair has two cells.
        "cells_per_s": 2 * args.batch * args.ranks / median * 1e3, "parameters": parameters,
        "phases_ms": dict(zip(PHASES, phases)), "torch": torch.__version__,
        "loss_first": losses[0].item(), "loss_last": losses[-1].item(),
    }
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16} {value}")


def device_name(args):
    return torch.cuda.get_device_name() if args.device == "cuda" else "cpu"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="threads of a rank")
    parser.add_argument("--batch", type=int, default=64, help="cells of a rank; a paired step reads twice as many")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--linear", choices=["torch", "onednn"], default="torch")
    parser.add_argument("--attention", choices=["fastest", "torch"], default="fastest")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--targets", type=int, default=TARGETS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.linear == "onednn" and (args.dtype, args.device) != ("f32", "cpu"):
        parser.error("--linear onednn is for f32 on the CPU; in bf16 PyTorch calls oneDNN by itself")
    if args.device == "cuda" and torch.cuda.device_count() < args.ranks:
        parser.error(f"--device cuda has {torch.cuda.device_count()} GPUs for {args.ranks} ranks; NCCL wants one for each")
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(run_rank, (args, os.path.join(folder, "store")), args.ranks)


if __name__ == "__main__":
    main()
