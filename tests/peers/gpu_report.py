"""The report of `scripts/gpu_acceptance.sh run`: what its steps printed, judged and put into one Markdown file.

    gpu_report.py nccl OUT                    "shares" if the NCCL that the step `doctor` found lets ranks share a GPU
    gpu_report.py write OUT REPORT.md ...     writes the report; exit code 0 if every check passed

OUT holds `steps.tsv` (name, exit code or `skip` or `late`, seconds, command or reason) and NAME.out and NAME.err of every
step. A check that was not made for want of a GPU is skipped, one that ran out of time has failed. Standard library only.
"""

import argparse
import datetime
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

# Largest relative difference of any of the losses on CPU and GPU. In f32 both round alike but add in another order. In
# bf16 a product is rounded to 8 bits, and orders of adding show in the last of them.
TOLERANCE = {"f32": 1e-3, "bf16": 3e-2}
SHARES_A_GPU = (2, 30)


class Steps:
    """What the steps left behind."""

    def __init__(self, folder):
        self.folder, self.lines = folder, {}
        for line in (folder / "steps.tsv").read_text().splitlines():
            name, status, seconds, text = line.split("\t", 3)
            self.lines[name] = (status, int(seconds), text.strip())

    def status(self, name):
        return self.lines.get(name, ("absent", 0, "it was not run"))[0]

    def text(self, name, stream):
        path = self.folder / f"{name}.{stream}"
        return path.read_text(errors="replace") if path.exists() else ""

    def json(self, name):
        """The JSON object on the last line of standard output; an empty one where there is none."""
        for line in reversed(self.text(name, "out").splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return found if isinstance(found, dict) else {}
        return {}

    def failure(self, name):
        """Why a step did not succeed, in a line; none if it did."""
        status, seconds, text = self.lines.get(name, ("absent", 0, "it was not run"))
        if status == "0":
            return None
        if status in ("late", "absent"):
            return text
        if status in ("124", "137"):
            return f"ended after {seconds} s, its limit"
        said = [line for line in self.text(name, "err").splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("error") or "Error" in line] or said[-1:]
        return f"exit code {status}: {errors[0].strip() if errors else 'no message'}"


class Report:
    """Rows of the table, and whether all passed."""

    def __init__(self, steps):
        self.steps, self.rows = steps, []

    def add(self, check, passed, result, *names):
        self.rows.append((check, "PASS" if passed else "FAIL", result, names))

    def check(self, check, judge, *names):
        """Adds `judge()`, (passed, result), of steps that all succeeded; or why they did not."""
        for name in names:
            if self.steps.status(name) == "skip":
                self.rows.append((check, "SKIP", self.steps.lines[name][2], names))
                return
            if failure := self.steps.failure(name):
                self.add(check, False, f"{name}: {failure}", *names)
                return
        try:
            passed, result = judge()
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError, OSError) as error:
            passed, result = False, f"the output lacks what was looked for ({error!r})"
        self.add(check, passed, result, *names)

    def passed(self):
        return all(row[1] != "FAIL" for row in self.rows)


def version(text):
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def shares_a_gpu(steps):
    return version(steps.json("doctor").get("nccl", {}).get("version", "0.0")) >= SHARES_A_GPU


def relative(a, b):
    """Largest relative difference of two lists of losses."""
    if len(a) != len(b) or not a:
        raise ValueError(f"{len(a)} and {len(b)} losses")
    differences = [abs(x - y) / max(abs(y), 1e-12) for x, y in zip(a, b)]
    # NaN is lost by max().
    return max(differences) if all(d == d for d in differences) else float("nan")


def check_machine(report, device, bundle):
    steps = report.steps

    def libraries():
        lines = [line.split() for line in steps.text("libraries", "out").splitlines() if "=>" in line]
        missing = [line[0] for line in lines if "not found" in " ".join(line)]
        glibc = re.compile(r"(ld-linux|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl)\.so)")
        ours = (str(bundle), "/torch/lib/", "/nvidia/")
        foreign = [line[2] for line in lines if len(line) > 2 and line[2].startswith("/")
                   and not glibc.search(line[2]) and not any(part in line[2] for part in ours)]
        wrong = [f"{name} is missing" for name in missing] + [f"{path} is the machine's" for path in foreign]
        return not wrong, "; ".join(wrong) or f"{len(lines)} libraries, all of the bundle, torch or glibc"

    def doctor():
        found = steps.json("doctor")
        wanted = ["cuda", "torch_cuda", "nvrtc", "nccl"] if device == "cuda" else ["libtorch"]
        missing = [f"{name}: {found[name]['detail']}" for name in wanted if not found[name]["found"]]
        return not missing, "; ".join(missing) or "; ".join(found[name]["detail"] for name in wanted)

    report.check("binary needs nothing of the machine but glibc", libraries, "libraries")
    report.check("`doctor` finds what is needed", doctor, "doctor")


def check_kernels(report, device):
    steps = report.steps

    def tests():
        text = steps.text("kernel_tests", "out") + steps.text("kernel_tests", "err")
        passed = int(re.search(r"test result: ok\. (\d+) passed", text).group(1))
        skipped = text.count("skipped:")
        result = f"{passed} tests ended well, {skipped} skips for want of a GPU or NVRTC"
        return passed > 0 and not (skipped and device == "cuda"), result

    def bench():
        found = steps.json("bench_kernels")
        if device == "cpu":
            return True, f"CPU: update {found['update_gb_s']:.1f} GB/s, a copy {found['copy_gb_s']:.1f} GB/s"
        worst = [k["kernel"] for k in found["kernels"] if not k["agrees"]]
        lowest = min(found["kernels"], key=lambda k: k["of_copy"])
        return found["passed"] and not worst, (
            f"differ from the CPU: {', '.join(worst)}" if worst else
            f"{len(found['kernels'])} kernels as on the CPU; slowest beside a copy: {lowest['kernel']}, {lowest['of_copy']:.0%}")

    report.check("tests of the CUDA kernels", tests, "kernel_tests")
    name = "CUDA kernels agree with the CPU at full size" if device == "cuda" else "`bench kernels` on the CPU"
    report.check(name, bench, "bench_kernels")


def check_parity(report):
    steps = report.steps
    for precision, tolerance in TOLERANCE.items():
        names = [f"parity_{precision}_{place}" for place in ("cpu", "gpu")]

        def judge(names=names, tolerance=tolerance):
            cpu, gpu = (steps.json(name)["losses"] for name in names)
            largest = relative(gpu, cpu)
            return largest <= tolerance, f"{len(cpu)} losses, largest relative difference {largest:.1e}, allowed {tolerance:.0e}"

        report.check(f"losses on GPU and CPU, {precision}", judge, *names)


def check_ranks(report, device):
    steps = report.steps

    def same(name, other, tolerance):
        largest = relative(steps.json(name)["losses"], steps.json(other)["losses"])
        return largest <= tolerance, f"losses of {other} to {largest:.1e}, allowed {tolerance:.0e}"

    if device == "cpu":
        report.check("a launched world of one computes what an unlaunched one does",
                     lambda: same("one_rank_launched", "parity_f32_gpu", 1e-6), "one_rank_launched", "parity_f32_gpu")
        report.check("two ranks", lambda: (True, f"{steps.json('two_ranks_gpu_host')['ranks']} ranks"), "two_ranks_gpu_host")
    else:
        report.check("two ranks on one GPU, sums through the host, as two ranks on the CPU",
                     lambda: same("two_ranks_gpu_host", "two_ranks_cpu", TOLERANCE["f32"]), "two_ranks_gpu_host", "two_ranks_cpu")
    report.check("NCCL with one rank computes what one process does",
                 lambda: same("nccl_one_rank", "parity_f32_gpu", 1e-5), "nccl_one_rank", "parity_f32_gpu")
    if steps.status("nccl_two_ranks") == "skip" or shares_a_gpu(steps):
        report.check("NCCL with two ranks on one GPU computes what sums through the host do",
                     lambda: same("nccl_two_ranks", "two_ranks_gpu_host", 1e-5), "nccl_two_ranks", "two_ranks_gpu_host")
        return
    # This NCCL lets no two ranks share a GPU: what is promised is that it says so and ends.
    said = steps.text("nccl_two_ranks", "err")
    line = next((line.strip() for line in said.splitlines() if "share one GPU" in line or "Duplicate GPU" in line), None)
    refused = line is not None and steps.status("nccl_two_ranks") not in ("0", "124", "137")
    result = f"refused: {line}" if refused else f"no refusal that names the reason: {steps.failure('nccl_two_ranks')}"
    report.add("NCCL before 2.30 refuses two ranks on one GPU by name", refused, result, "nccl_two_ranks")


def overlap(path):
    """Steps of a trace, reductions, and the share of their time that lies within backward passes."""
    spans = [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]
    tracks = {event["tid"]: event["args"]["name"] for event in json.loads(path.read_text())["traceEvents"]
              if event["ph"] == "M" and event["name"] == "thread_name"}

    def of(track, name):
        return [(s["ts"], s["ts"] + s["dur"]) for s in spans if tracks[s["tid"]].startswith(track) and name in s["name"]]

    backward, sums = of("main", "backward"), of("communication", "")
    hidden = sum(max(0, min(end, b_end) - max(begin, b_begin)) for begin, end in sums for b_begin, b_end in backward)
    return len(backward), len(sums), hidden / max(1, sum(end - begin for begin, end in sums))


def check_runs(report):
    steps = report.steps

    def trace():
        backward, sums, hidden = overlap(steps.folder / "trace-rank-0.json")
        return backward > 0 and sums > 0, f"{sums} reductions in {backward} steps, {hidden:.0%} of their time within backward"

    def resume():
        whole, rest = steps.json("resume_whole")["parameter_hash"], steps.json("resume_rest")["parameter_hash"]
        went_on = re.search(r"resuming after step (\d+)", steps.text("resume_rest", "err"))
        if went_on is None or int(went_on.group(1)) >= steps.json("resume_rest")["step"]:
            return False, "the run was not killed between its first checkpoint and its end"
        again = steps.json("resume_again").get("parameter_hash", "")
        alike = "" if again == whole else f"; two runs that were never killed differ too ({again[:12]}): the device does not repeat itself"
        return whole == rest, f"killed, went on after step {went_on.group(1)}: {rest[:12]}, never killed: {whole[:12]}{alike}"

    report.check("a trace shows phases and reductions", trace, "synth", "split", "trace")
    report.check("a killed and resumed run equals one that was never killed", resume, "resume_whole", "resume_killed", "resume_rest")


def speeds(steps):
    """Rows of the table of speeds: precision, batch, ours, eager, compiled, utilisations."""
    rows = []
    for name in steps.lines:
        if found := re.fullmatch(r"step_(f32|bf16)_(\d+)", name):
            case = "_".join(found.groups())
            rows.append((*found.groups(), *(steps.json(f"{kind}_{case}") for kind in ("step", "eager", "compiled"))))
    return rows


def check_speed(report):
    steps = report.steps
    for precision, batch, *_ in speeds(steps):
        case = f"{precision}_{batch}"
        ours = f"step_{case}"
        report.check(f"`bench step`, {precision}, batch {batch}", lambda name=ours: milliseconds(steps.json(name)), ours)
        for kind in ("eager", "compiled"):
            peer = f"{kind}_{case}"
            report.check(f"PyTorch {kind}, {precision}, batch {batch}", lambda name=peer: milliseconds(steps.json(name)), peer)


def milliseconds(found):
    median = found["step_ms_median"]
    return median > 0, f"{median:.2f} ms a step, {found['cells_per_s']:.0f} cells/s"


def utilisation(ours, other):
    """Model FLOP utilisation of `other`, by the FLOPs that ours counts: the step is the same."""
    if not ours.get("mfu") or not other.get("cells_per_s"):
        return "–"
    return f"{ours['mfu'] * other['cells_per_s'] / ours['cells_per_s']:.1%}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def speed_section(steps):
    rows = []
    for precision, batch, ours, eager, compiled in speeds(steps):
        times = [f"{found['step_ms_median']:.2f}" if found else "–" for found in (ours, eager, compiled)]
        ratio = f"{eager['step_ms_median'] / ours['step_ms_median']:.2f}" if ours and eager else "–"
        rows.append([precision, batch, *times, ratio, *(utilisation(ours, found) for found in (ours, eager, compiled))])
    head = ["precision", "batch", "Syncyte ms", "eager ms", "compiled ms", "eager / Syncyte",
            "MFU Syncyte", "MFU eager", "MFU compiled"]
    flags = next((found for row in speeds(steps) for found in row[3:] if found), {})
    return (f"{table(head, rows)}\n\nMFU counts model FLOPs against the dense bf16 peak; the peers' is Syncyte's times the ratio of"
            f" cells a second. PyTorch {flags.get('torch', '?')}, f32 products `{flags.get('matmul_precision', '?')}`"
            f" (TF32 {'on' if flags.get('tf32') else 'off'}).")


def kernel_section(steps):
    found = steps.json("bench_kernels")
    if "kernels" not in found:
        return None
    rows = [[k["kernel"], "yes" if k["agrees"] else "NO", f"{k['difference']:.1e}", f"{k['tolerance']:.0e}", f"{k['best_ms']:.3f}",
             f"{k['median_ms']:.3f}", f"{k['gb_s']:.0f}", f"{k['of_copy']:.0%}",
             f"{k['times_floor']:.2f}" if k["times_floor"] else "–"] for k in found["kernels"]]
    head = ["kernel", "agrees", "difference", "allowed", "best ms", "median ms", "GB/s", "of a copy", "times the floor"]
    memory = f"; its memory is built for {found['memory_gb_s']:.0f} GB/s" if found["memory_gb_s"] else ""
    return f"A copy on the GPU: {found['copy_gb_s']:.0f} GB/s{memory}.\n\n{table(head, rows)}"


def machine_section(steps, device):
    doctor = steps.json("doctor")
    path = steps.folder / "nvidia-smi.txt"
    smi = path.read_text().strip() if path.exists() else ""
    # Asked in a process of its own: torch takes long to load, and may not be there.
    torch = subprocess.run([sys.executable, "-c", "import torch; print(torch.__version__, torch.version.cuda)"],
                           capture_output=True, text=True, check=False).stdout.strip()
    rows = [("device of the checks", device), ("GPU (name, driver, memory, clock, power)", smi or "none"),
            *((name, doctor.get(name, {}).get("detail", "?")) for name in ("cpu", "cuda", "torch_cuda", "nvrtc", "nccl")),
            ("torch, CUDA", torch or "?"), ("Syncyte", f"{doctor.get('version')} ({doctor.get('git')})"),
            ("system", f"{platform.platform()}, Python {platform.python_version()}")]
    return table(["", ""], rows)


def write(args):
    steps = Steps(args.out)
    report = Report(steps)
    check_machine(report, args.device, args.bundle)
    check_kernels(report, args.device)
    check_parity(report)
    check_ranks(report, args.device)
    check_runs(report)
    check_speed(report)
    counts = {state: sum(row[1] == state for row in report.rows) for state in ("PASS", "FAIL", "SKIP")}
    verdict = ", ".join(f"{count} {state}" for state, count in counts.items())
    checks = table(["check", "", "result", "steps"],
                   [[check, f"**{state}**" if state == "FAIL" else state, result, ", ".join(names)]
                    for check, state, result, names in report.rows])
    commands = "\n".join(f"# {name}: {status}, {seconds} s\n{text}" for name, (status, seconds, text) in steps.lines.items())
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    title = "GPU acceptance" if args.device == "cuda" else "Dry run of the GPU acceptance"
    stand_in = [] if args.device == "cuda" else ["The CPU stood in for the GPU: this shows that the script works, and says nothing of any GPU."]
    sections = [f"# {title}, {today}", *stand_in, f"**{verdict}** in {sum(line[1] for line in steps.lines.values())} s.",
                machine_section(steps, args.device), "## Checks", checks, "## Training step", speed_section(steps)]
    if kernels := kernel_section(steps):
        sections += ["## Kernels", kernels]
    sections += ["## Commands", "Paths are those of the bundle; what each printed lies in "
                 f"`{args.out.name}`, the environment of Syncyte's own in `environment.txt` there.\n\n```sh\n{commands}\n```"]
    args.report.write_text("\n\n".join(sections) + "\n")
    print(f"{args.report}: {verdict}")
    return 0 if report.passed() else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    nccl = commands.add_parser("nccl")
    nccl.add_argument("out", type=Path)
    writer = commands.add_parser("write")
    writer.add_argument("out", type=Path)
    writer.add_argument("report", type=Path)
    writer.add_argument("--device", choices=["cpu", "cuda"], required=True)
    writer.add_argument("--bundle", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "nccl":
        print("shares" if shares_a_gpu(Steps(args.out)) else "refuses")
        return 0
    return write(args)


if __name__ == "__main__":
    sys.exit(main())
