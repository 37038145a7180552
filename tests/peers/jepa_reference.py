"""The model, its losses and its optimizer step written again in PyTorch, to compare Syncyte with.

    python tests/peers/jepa_reference.py CASE...     # PyTorch 2.11, safetensors

Everything here follows the papers and the documented equations and the parameter names in checkpoints; no part of
Syncyte is called. It computes in f64 with plain autograd over the whole batch, with attention written out and
conditions assembled row by row, so rounding, fused kernels and surrogate losses are all on Syncyte's side.

A case is a folder with `case.json` (its kind), parameters, `inputs.safetensors` and Syncyte's `outputs.safetensors`.
The largest absolute and relative difference of every quantity is printed; the exit status is 1 when one is beyond
its tolerance. Differences are relative to the largest value of the tensor, as f32 rounding is.
"""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

# f32 rounding of a forward pass.
FORWARD = 1e-5
# Backward adds the rounding of sums over the batch and tokens and of covariances near singular ones.
GRADIENT = 1e-4
# A gradient that is zero but for rounding (the bias of attention keys) is measured against this share of the largest.
GRADIENT_FLOOR = 1e-3
# Names of kinds of perturbation, in the order of the one-hot slots behind the genes of P2.
KINDS = [
    {"knockout", "crisprko"},
    {"knockdown", "crispri"},
    {"activation", "crispra"},
    {"overexpression", "orf"},
    {"drug", "compound"},
    {"cytokine"},
]


class LinearNorm(nn.Linear):
    """A linear map followed by a layer norm."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=1e-5)

    def forward(self, x):
        return self.norm(super().forward(x))


class Attention(nn.Module):
    """Multi-head attention written out: softmax(q kᵀ / √d_h) v."""

    def __init__(self, width, heads):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x, context, allowed=None):
        width = x.shape[-1]
        wq, wk, wv = self.qkv.weight.split(width)
        bq, bk, bv = self.qkv.bias.split(width)

        def heads(rows, weight, bias):
            y = rows @ weight.T + bias
            return y.reshape(*y.shape[:2], self.heads, width // self.heads)

        q, k, v = heads(x, wq, bq), heads(context, wk, bk), heads(context, wv, bv)
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(width // self.heads)
        if allowed is not None:
            scores = scores.masked_fill(~allowed[:, None, None, :], -math.inf)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        return self.proj(torch.einsum("bhqk,bkhe->bqhe", weights, v).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="none"))


class Block(nn.Module):
    """Pre-norm self-attention block."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = Mlp(width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y)
        return x + self.mlp(self.norm2(x))


class CrossBlock(Block):
    """Pre-norm cross-attention block: cell tokens ask, condition tokens answer."""

    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.norm_context = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x, context, allowed):
        x = x + self.attention(self.norm1(x), self.norm_context(context), allowed)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """E1."""

    def __init__(self, config, genes):
        super().__init__()
        widths = [genes, *config["hidden"]]
        self.tokens, self.width = config["tokens"], config["width"]
        self.hidden = nn.ModuleList(LinearNorm(i, o) for i, o in zip(widths, widths[1:]))
        self.to_tokens = nn.Linear(widths[-1], self.tokens * self.width)
        self.position = nn.Parameter(torch.empty(self.tokens, self.width))
        self.blocks = nn.ModuleList(Block(self.width, config["heads"]) for _ in range(config["depth"]))
        self.norm = nn.LayerNorm(self.width, eps=1e-5)

    def forward(self, x):
        for layer in self.hidden:
            x = F.gelu(layer(x), approximate="none")
        x = self.to_tokens(x).unflatten(1, (self.tokens, self.width)) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Perturbation(nn.Module):
    """P1 or P2, the null condition P8, and the condition tokens: targets, kind, context."""

    def __init__(self, config, vocabulary):
        super().__init__()
        width, n = config["width"], len(vocabulary["targets"])
        self.kinds, self.combine, self.n = vocabulary["kinds"], config.get("combine"), n
        if config["kind"] == "gene_embedding":
            self.targets = nn.Parameter(torch.empty(n, width))
        else:
            self.fc1 = nn.Linear(n + 10, width)
            self.norm = nn.LayerNorm(width, eps=1e-5)
            self.fc2 = nn.Linear(width, width)
        self.null = nn.Parameter(torch.empty(width))
        self.kind = nn.Parameter(torch.empty(len(vocabulary["kinds"]), width))
        self.context = nn.Parameter(torch.empty(len(vocabulary["contexts"]), width))

    def features(self, targets, kind):
        """Input of P2: multi-hot genes, one-hot kind, log dose, log time, number of targets, dose known."""
        x = torch.zeros(self.n + 10, dtype=self.null.dtype)
        for target in targets:
            x[target] += 1
        name = self.kinds[kind].lower().replace("-", "")
        for slot, names in enumerate(KINDS):
            if name in names:
                x[self.n + slot] = 1
        x[self.n + 8] = len(targets)
        return x

    def row(self, targets, kind, context, null):
        """Tokens and vector of one condition."""
        tokens, vector = [], torch.zeros_like(self.null)
        if null:
            tokens, vector = [self.null], self.null
        elif targets and hasattr(self, "targets"):
            tokens = [self.targets[target] for target in targets]
            vector = sum(tokens)
            if self.combine == "mean":
                vector = vector / len(tokens)
        elif targets:
            vector = self.fc2(F.gelu(self.norm(self.fc1(self.features(targets, kind))), approximate="none"))
            tokens = [vector]
        return torch.stack([*tokens, self.kind[kind], self.context[context]]), vector

    def forward(self, queries):
        rows = [self.row(*query) for query in queries]
        most = max(len(tokens) for tokens, _ in rows)
        padded = torch.stack([F.pad(tokens, (0, 0, 0, most - len(tokens))) for tokens, _ in rows])
        allowed = torch.tensor([[at < len(tokens) for at in range(most)] for tokens, _ in rows])
        # R7 multiplies by 1 − is_control; the null condition is not the control.
        moves = torch.tensor([float(bool(targets) or null) for targets, _, _, null in queries], dtype=padded.dtype)
        return padded, allowed, torch.stack([vector for _, vector in rows]), moves


class Predictor(nn.Module):
    """R2 or R3, with the residual wrapper R7."""

    def __init__(self, config, residual, width, condition):
        super().__init__()
        self.pooled = config["kind"] == "mlp"
        if self.pooled:
            hidden = config["hidden"]
            self.hidden = nn.ModuleList([LinearNorm(width + condition, hidden), LinearNorm(hidden, hidden)])
            self.out = nn.Linear(hidden, width)
        else:
            self.condition = LinearNorm(condition, width)
            self.cross = nn.ModuleList(CrossBlock(width, config["heads"]) for _ in range(config["depth"]))
            self.blocks = nn.ModuleList(Block(width, config["heads"]) for _ in range(config["depth"]))
            self.norm = nn.LayerNorm(width, eps=1e-5)
        self.residual = nn.Linear(width, width) if residual else None

    def forward(self, state, tokens, allowed, vector, moves):
        if self.pooled:
            x = torch.cat([state, vector], 1)
            for layer in self.hidden:
                x = F.relu(layer(x))
            x = self.out(x)
        else:
            context = F.gelu(self.condition(tokens), approximate="none")
            x = state
            for cross, block in zip(self.cross, self.blocks):
                x = block(cross(x, context, allowed))
            x = self.norm(x)
        if self.residual is None:
            return x
        return state + self.residual(x) * moves.reshape(-1, *[1] * (state.dim() - 1))


class Jepa(nn.Module):
    def __init__(self, config, vocabulary):
        super().__init__()
        self.encoder = Encoder(config["encoder"], len(vocabulary["genes"]))
        self.perturbation = Perturbation(config["perturbation"], vocabulary)
        width = config["encoder"]["width"]
        self.predictor = Predictor(config["predictor"], config["residual"], width, config["perturbation"]["width"])


class Teacher(nn.Module):
    def __init__(self, config, vocabulary):
        super().__init__()
        self.encoder = Encoder(config["encoder"], len(vocabulary["genes"]))


class SetBlock(nn.Module):
    def __init__(self, width, condition, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.fc1 = nn.Linear(2 * width + condition, hidden)
        self.fc2 = nn.Linear(hidden, width)


class Heads(nn.Module):
    """J4: linear map of the condition plus an MLP of [state ‖ condition]. R10: residual blocks on every cell of a bag."""

    def __init__(self, width, condition, hidden, depth):
        super().__init__()
        self.prototype = nn.ModuleDict({
            "linear": nn.Linear(condition, width),
            "fc1": nn.Linear(width + condition, hidden),
            "norm": nn.LayerNorm(hidden, eps=1e-5),
            "fc2": nn.Linear(hidden, width),
        })
        self.set = nn.ModuleList(SetBlock(width, condition, hidden) for _ in range(depth))

    def shift(self, state, vector, perturbed):
        head = self.prototype
        hidden = F.gelu(head["norm"](head["fc1"](torch.cat([state, vector], 1))), approximate="none")
        return (head["linear"](vector) + head["fc2"](hidden)) * perturbed[:, None]

    def bag(self, cells, shift, vector, perturbed):
        out = []
        for bag, move, condition, moves in zip(cells, shift, vector, perturbed):
            z = bag + move
            for block in self.set:
                summary = z.mean(0)
                rows = [torch.cat([cell, condition, summary]) for cell in block.norm(z)]
                z = z + moves * block.fc2(F.gelu(block.fc1(torch.stack(rows)), approximate="none"))
            out.append(z)
        return torch.stack(out)


class Score(nn.Module):
    """G4: [z ‖ h ‖ p ‖ sinusoid of 1000 t] through SiLU layers."""

    def __init__(self, width, condition, hidden):
        super().__init__()
        widths = [2 * width + condition + 128, *hidden]
        self.score = nn.ModuleDict({
            "hidden": nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, widths[1:])),
            "out": nn.Linear(widths[-1], width),
        })

    def forward(self, z, t, h, p):
        omega = torch.exp(-torch.arange(64, dtype=t.dtype) * math.log(1e4) / 63)
        angle = 1000 * t[:, None] * omega
        x = torch.cat([z, h, p, angle.sin(), angle.cos()], 1)
        for layer in self.score["hidden"]:
            x = F.silu(layer(x))
        return self.score["out"](x)


def variance(z):
    """v(z) = mean_j max(0, 1 − √(Var_j + 1e-4)), ddof 1."""
    return F.relu(1 - (z.var(0, unbiased=True) + 1e-4).sqrt()).mean()


def covariance(z):
    """c(z) = Σ_{i≠j} Cov_ij² / d, n − 1."""
    c = torch.cov(z.T)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


def loss_terms(preset, context, prediction, target):
    """Invariance, variance, covariance (branches with their factors) and their weighted sum (L1)."""
    pooled = prediction.dim() == 2
    target = target.mean(1) if pooled else target
    pooled_prediction = prediction if pooled else prediction.mean(1)
    if preset == "default":
        invariance = F.smooth_l1_loss(prediction, F.layer_norm(target, target.shape[-1:], eps=1e-5), beta=1.0)
        branches, factor, weights = [context.mean(1), pooled_prediction], 0.5, (1, 25, 1)
    elif preset == "s0":
        invariance = F.mse_loss(prediction, target)
        flat = [x.reshape(-1, x.shape[-1]) for x in (prediction, target)]
        branches, factor, weights = flat, 1, (25, 25, 1)
    else:
        invariance = F.mse_loss(prediction, target)
        branches, factor, weights = [pooled_prediction], 1, (1, 0.1, 0.1 * 0.04)
    v = factor * sum(variance(z) for z in branches)
    c = factor * sum(covariance(z) for z in branches)
    return invariance, v, c, weights[0] * invariance + weights[1] * v + weights[2] * c


def energy(x, y):
    """L7, V form: E = 2 mean‖x−y‖ − mean‖x−x'‖ − mean‖y−y'‖ with √(d² + 1e-12)."""

    def mean(a, b):
        return torch.stack([((p - q).square().sum() + 1e-12).sqrt() for p in a for q in b]).mean()

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


class Comparison:
    """Collects the worst difference of every quantity of a case."""

    def __init__(self, name):
        self.name, self.worst = name, {}

    def add(self, quantity, ours, reference, tolerance, floor=0.0):
        reference = reference.detach()
        if ours.shape != reference.shape:
            raise SystemExit(f"{self.name}: {quantity} has shape {list(ours.shape)}, not {list(reference.shape)}")
        absolute = (ours - reference).abs().max().item()
        relative = absolute / max(reference.abs().max().item(), floor, 1e-30)
        kind = quantity.split(":")[0]
        # Not `>`: a NaN is the worst difference there is.
        if kind not in self.worst or not relative <= self.worst[kind][1]:
            self.worst[kind] = (absolute, relative, tolerance, quantity)

    def gradients(self, module, outputs):
        """Compares every parameter's gradient; one that the loss does not reach must be zero on both sides."""
        reference = {
            name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in module.named_parameters()
        }
        ours = {name.removeprefix("grad."): g for name, g in outputs.items() if name.startswith("grad.")}
        if ours.keys() != reference.keys():
            raise SystemExit(f"{self.name}: gradients of {sorted(ours.keys() ^ reference.keys())} on one side only")
        floor = GRADIENT_FLOOR * max(g.abs().max().item() for g in reference.values())
        for name, gradient in reference.items():
            self.add(f"gradient:{name}", ours[name], gradient, GRADIENT, floor)

    def report(self):
        good = True
        for kind, (absolute, relative, tolerance, quantity) in self.worst.items():
            passed = relative <= tolerance
            good &= passed
            where = "" if quantity == kind else f"  ({quantity.split(':', 1)[1]})"
            print(
                f"{'ok  ' if passed else 'FAIL'} {self.name:34} {kind:16} "
                f"abs {absolute:.1e}  rel {relative:.1e}  limit {tolerance:.0e}{where}"
            )
        return good


def load(path):
    return {name: tensor.double() for name, tensor in load_file(path).items()}


def fill(module, path):
    """Puts a file's tensors into a module: every tensor once, none missing, none left over."""
    module.double().load_state_dict(load(path), strict=True)
    return module


def queries(inputs):
    rows = zip(inputs["targets"], inputs["kinds"], inputs["contexts"], inputs["null"])
    return [([int(t) for t in ts if t >= 0], int(kind), int(context), bool(null)) for ts, kind, context, null in rows]


def compare_jepa(folder, case, inputs, ours, out):
    checkpoint = next(folder.glob("step-*"))
    state = json.loads((checkpoint / "state.json").read_text())
    config, vocabulary = state["config"], state["vocabulary"]
    student = fill(Jepa(config["model"], vocabulary), checkpoint / "model.safetensors")
    teacher = fill(Teacher(config["model"], vocabulary), checkpoint / "teacher.safetensors")
    asked = queries(inputs)

    context = student.encoder(inputs["context_cells"])
    tokens, allowed, vector, moves = student.perturbation(asked)
    seen = context.mean(1) if student.predictor.pooled else context
    prediction = student.predictor(seen, tokens, allowed, vector, moves)
    with torch.no_grad():
        target = teacher.encoder(inputs["target_cells"])
    terms = loss_terms(case["preset"], context, prediction, target)
    terms[-1].backward()

    out.add("encoder tokens", ours["context"], context, FORWARD)
    out.add("teacher tokens", ours["target"], target, FORWARD)
    out.add("embedding", ours["embedding"], context.mean(1), FORWARD)
    out.add("condition vector", ours["vector"], vector, FORWARD)
    for row in range(len(asked)):
        mine = ours["condition_tokens"][row][ours["condition_mask"][row] > 0]
        out.add("condition tokens", mine, tokens[row][allowed[row]], FORWARD)
    out.add("prediction", ours["prediction"], prediction, FORWARD)
    for name, mine, term in zip(("invariance", "variance", "covariance", "loss"), ours["terms"], terms):
        out.add(f"terms:{name}", mine, term, FORWARD)
    out.gradients(student, ours)


def compare_heads(folder, case, inputs, ours, out):
    heads = fill(Heads(case["width"], case["condition"], case["hidden"], case["depth"]), folder / "model.safetensors")
    vector, perturbed = inputs["vector"], inputs["perturbed"]
    shift = heads.shift(inputs["prototype"], vector, perturbed)
    bag = heads.bag(inputs["bag"], shift.detach(), vector, perturbed)
    distance = torch.stack([energy(x, y) for x, y in zip(bag, inputs["perturbed_bag"])])
    ((shift - inputs["wanted"]).square().sum() + distance.sum()).backward()
    out.add("prototype shift", ours["shift"], shift, FORWARD)
    out.add("predicted bag", ours["set"], bag, FORWARD)
    out.add("energy distance", ours["energy"], distance, FORWARD)
    out.gradients(heads, ours)


def compare_score(folder, case, inputs, ours, out):
    score = fill(Score(case["width"], case["condition"], case["hidden"]), folder / "model.safetensors")
    noise = score(inputs["z"], inputs["t"], inputs["h"], inputs["p"])
    (noise - inputs["noise"]).square().mean(1).sum().backward()
    out.add("predicted noise", ours["predicted"], noise, FORWARD)
    out.gradients(score, ours)


def compare_steps(folder, case, inputs, ours, out):
    """Clipping, AdamW and the teacher over consecutive steps, from Syncyte's own gradients."""
    checkpoint = next(folder.glob("step-*"))
    state = json.loads((checkpoint / "state.json").read_text())
    config, vocabulary = state["config"], state["vocabulary"]
    student = fill(Jepa(config["model"], vocabulary), checkpoint / "model.safetensors")
    teacher = fill(Teacher(config["model"], vocabulary), checkpoint / "teacher.safetensors")
    optimizer = config["optimizer"]
    tables = {f"perturbation.{name}" for name in ("targets", "null", "kind", "context")} | {"encoder.position"}
    groups = {}
    for name, p in student.named_parameters():
        decays = p.dim() > 1 and name not in tables
        groups.setdefault((name.startswith("encoder."), decays), []).append(p)
    adam = torch.optim.AdamW(
        [{"params": ps, "encoder": encoder, "decays": decays} for (encoder, decays), ps in groups.items()],
        betas=(optimizer["beta1"], optimizer["beta2"]),
        eps=optimizer["eps"],
    )
    for index, plan in enumerate(case["plans"]):
        named = dict(student.named_parameters())
        for name, p in named.items():
            p.grad = inputs[f"{index}.{name}"].clone()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in named.values()))
        out.add(f"gradient norm:{index}", ours["norms"][index], norm, FORWARD)
        # O4: the norm after clipping is min(norm, limit); torch's own function adds 1e-6 to the norm.
        for p in named.values():
            p.grad *= min(1.0, optimizer["clip"] / norm.item())
        for group in adam.param_groups:
            group["lr"] = plan["lr"] * (plan["encoder_lr_scale"] if group["encoder"] else 1.0)
            group["weight_decay"] = plan["weight_decay"] if group["decays"] else 0.0
        adam.step()
        with torch.no_grad():
            for name, mean in teacher.named_parameters():
                mean.mul_(plan["momentum"]).add_((1 - plan["momentum"]) * named[name])
        for name, p in named.items():
            out.add(f"parameters:{index}.{name}", ours[f"{index}.student.{name}"], p, FORWARD)
        for name, p in teacher.named_parameters():
            out.add(f"teacher:{index}.{name}", ours[f"{index}.teacher.{name}"], p, FORWARD)


COMPARE = {"jepa": compare_jepa, "heads": compare_heads, "score": compare_score, "steps": compare_steps}


def main(folders):
    good = True
    for folder in map(Path, folders):
        case = json.loads((folder / "case.json").read_text())
        out = Comparison(folder.name)
        inputs, ours = load(folder / "inputs.safetensors"), load(folder / "outputs.safetensors")
        COMPARE[case["kind"]](folder, case, inputs, ours, out)
        good &= out.report()
    return 0 if good else 1


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    sys.exit(main(sys.argv[1:]))
