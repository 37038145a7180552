"""The model of `jepa_reference.py` made fast, for the peers that are timed: same parameters, same function, same loss.

Attention goes through the fastest kernels, the conditions of a batch are looked up together, and the encoder has its dropout.
With autocast it computes in bf16 with master weights in f32; the loss is computed in f32 always.
"""

import jepa_reference as reference
import torch
from torch import nn
from torch.nn import functional as F


# Whether attention is torch's own function everywhere, also where it is not the fastest.
TORCH_ATTENTION = False


def attend(q, k, v):
    """softmax(q kᵀ / √d_h) v by whatever is fastest, unless torch's own is asked for."""
    if TORCH_ATTENTION or q.is_cuda or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v)
    # In bf16 on a CPU the fused kernel, backward pass included, takes six times as long as products and a softmax.
    with torch.autocast(q.device.type, enabled=False):
        return ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1) @ v


class Attention(reference.Attention):
    """The reference's attention in as few products as can be. All keys are allowed."""

    def forward(self, x, context, allowed=None):
        if x is context:
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            sizes = [x.shape[-1], 2 * x.shape[-1]]
            (wq, wkv), (bq, bkv) = self.qkv.weight.split(sizes), self.qkv.bias.split(sizes)
            q = F.linear(x, wq, bq)
            k, v = F.linear(context, wkv, bkv).chunk(2, -1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))


class Encoder(reference.Encoder):
    """E1 with its dropout, which the reference leaves out."""

    def __init__(self, config, genes):
        super().__init__(config, genes)
        self.dropout = config["dropout"]

    def forward(self, x):
        for layer in self.hidden:
            x = F.dropout(F.gelu(layer(x)), self.dropout, self.training)
        x = self.to_tokens(x).unflatten(1, (self.tokens, self.width)) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Perturbation(reference.Perturbation):
    """P1 for conditions of one target each: tokens of target, kind and context, none of them padding."""

    def forward(self, targets, kinds, contexts, null):
        # As in Syncyte the null condition takes part in every step, most often with weight zero.
        first = F.embedding(targets, self.targets) + null[:, None] * self.null
        return torch.stack([first, F.embedding(kinds, self.kind), F.embedding(contexts, self.context)], 1)


class Student(nn.Module):
    """Encoder, perturbation encoder and predictor, from a batch and the teacher's tokens to the loss."""

    def __init__(self, config, genes, targets):
        super().__init__()
        vocabulary = {"targets": range(targets), "kinds": ["CRISPRi"], "contexts": ["k562"]}
        width, condition = config["encoder"]["width"], config["perturbation"]["width"]
        self.encoder = Encoder(config["encoder"], genes)
        self.perturbation = Perturbation(config["perturbation"], vocabulary)
        self.predictor = reference.Predictor(config["predictor"], config["residual"], width, condition)
        for block in self.modules():
            if isinstance(block, reference.Block):
                block.attention = Attention(width, block.attention.heads)
        self.reset_parameters()

    def reset_parameters(self):
        """O7: truncated normal of 0.02, smaller in deep residual outputs, and of 1 in the table of targets."""
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif ".norm" in name:
                nn.init.ones_(p)
            else:
                sd = 1.0 if name in ("perturbation.targets", "perturbation.null") else 0.02
                nn.init.trunc_normal_(p, std=sd, a=-2 * sd, b=2 * sd)
        depths = [(self.encoder.blocks, 1, 1), (self.predictor.cross, 2, 1), (self.predictor.blocks, 2, 2)]
        for blocks, stride, first in depths:
            for i, block in enumerate(blocks):
                for layer in (block.attention.proj, block.mlp.fc2):
                    layer.weight.data /= (2 * (stride * i + first)) ** 0.5

    def forward(self, cells, condition, wanted):
        context = self.encoder(cells)
        prediction = self.predictor(context, self.perturbation(*condition), None, None, None)
        with torch.autocast(cells.device.type, enabled=False):
            return reference.loss_terms("default", context.float(), prediction.float(), wanted.float())[-1]


@torch.library.custom_op("peer::product", mutates_args=())
def product(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`a bᵀ + bias` in f32 by oneDNN, which uses AVX-512 on AMD's processors too. MKL, PyTorch's choice, does not."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


@product.register_fake
def _(a, b, _bias):
    return a.new_empty(*a.shape[:-1], b.shape[0])


def product_backward(ctx, grad):
    a, b = ctx.saved_tensors
    rows, inputs = grad.flatten(0, -2), a.flatten(0, -2)
    da = product(grad, b.t(), None) if ctx.needs_input_grad[0] else None
    return da, product(rows.t(), inputs.t(), None), rows.sum(0)


def save_factors(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


product.register_autograd(product_backward, setup_context=save_factors)


def onednn_linear(x, weight, bias=None):
    """In the place of `F.linear`."""
    return product(x, weight, bias)


def use_onednn():
    """Makes every `nn.Linear` of this process, and `Attention`, multiply by oneDNN."""
    F.linear = onednn_linear
