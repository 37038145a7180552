"""PyTorch's fused AdamW and the teacher's moving average on the parameters of `torch_ddp_step.py`, by themselves.

    python tests/peers/torch_optimizer_pass.py --json      # one JSON object, medians in milliseconds

`ms_total` is AdamW and moving average. Clipping, `ms_clip`, is a pass of its own in PyTorch and is not in it.
"""

import argparse
import json
import statistics
import time

import torch
import torch_ddp_step as peer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--config", default=peer.CONFIG)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = peer.load_config(args.config)
    student = peer.make_student(config)
    parameters = list(student.parameters())
    for p in parameters:
        p.grad = torch.randn_like(p)
    encoder = [p.detach() for p in student.encoder.parameters()]
    mean = [p.clone() for p in encoder]
    optimizer, rest = peer.adamw(student, config["optimizer"]), 1 - config["teacher"]["momentum"]
    passes = {
        "ms_clip": lambda: torch.nn.utils.clip_grad_norm_(parameters, config["optimizer"]["clip"], foreach=True),
        "ms_adamw": optimizer.step,
        "ms_ema": lambda: torch._foreach_lerp_(mean, encoder, rest),
    }
    times = {name: [] for name in passes}
    # In turn, as in a step: each pass finds the caches as the one before leaves them.
    for _ in range(args.warmup + args.repeats):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    measured = {name: values[args.warmup:] for name, values in times.items()}
    totals = [a + b for a, b in zip(measured["ms_adamw"], measured["ms_ema"])]
    result = {
        "peer": "torch", "threads": args.threads, "repeats": args.repeats,
        "parameters": sum(p.numel() for p in parameters), "ema_parameters": sum(p.numel() for p in encoder),
        **{name: statistics.median(values) for name, values in measured.items()},
        "ms_total": statistics.median(totals), "torch": torch.__version__,
    }
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16} {value}")


if __name__ == "__main__":
    main()
