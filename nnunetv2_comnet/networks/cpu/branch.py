"""What follows a block's depthwise convolution, as one operation: norm, expansion, GELU, GRN, compression, residual.

The rows (V, C) of one sample are taken some thousand at a time. Forward: the statistics of the group norm; then norm,
expansion and GELU, whose squares are summed on the way; then the compression, into which GRN is folded. Backward: the
expanded rows are kept or computed again; all sums over voxels that the gradients of norm, GRN and weights need come out
of the matrix products.
"""

import contextlib
import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.networks.cpu.layout import channels_last, rows, rows_at_a_time, volume


class BranchWeights(NamedTuple):
    """norm_*: (C,), or (B, C) for one per sample; expand: (E, C), (E,); grn_*: (E,) or None; compress: (C_out, E)."""

    norm_weight: Tensor
    norm_bias: Tensor
    expand_weight: Tensor
    expand_bias: Tensor
    compress_weight: Tensor
    compress_bias: Tensor
    grn_gamma: Tensor | None = None
    grn_beta: Tensor | None = None


class GrnForm(NamedTuple):
    """The response is norm / (mean of the channels' norms + eps), over the number of channels where `is_sum`."""

    eps: float
    is_sum: bool = False


class Hold(enum.Enum):
    """How long a block's expanded rows stay in memory."""

    NOTHING = enum.auto()
    UNTIL_COMPRESSED = enum.auto()
    FOR_GRADIENTS = enum.auto()


def branch(
    x: Tensor,
    residual: Tensor | None,
    weights: BranchWeights,
    *,
    norm_eps: float,
    form: GrnForm,
    recompute: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Computes a block's branch and adds the residual.

    Args:
        x: (B, C, D, H, W), float32 on the CPU.
        residual: (B, C_out, D, H, W), or None.
        weights: Of norm, expansion, GRN and compression.
        norm_eps: Epsilon of the group norm.
        form: Of GRN.
        recompute: Computes x again. With it the backward pass keeps neither x nor the expanded rows, which are never
            held whole: computed again in the forward pass and twice in the backward pass. Without it, both are kept.

    Returns:
        (B, C_out, D, H, W), channels-last.
    """
    batch, *sides = x.shape[0], *x.shape[2:]
    weights = weights._replace(
        norm_weight=weights.norm_weight.expand(batch, -1), norm_bias=weights.norm_bias.expand(batch, -1)
    )
    added = None if residual is None else rows(channels_last(residual))
    x = rows(channels_last(x))
    # Asked here: within the function gradients are always off, and its inputs' flags do not show the mode.
    needs_gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, added, *weights))
    hold = (Hold.FOR_GRADIENTS if recompute is None else Hold.NOTHING) if needs_gradient else Hold.UNTIL_COMPRESSED
    keeping = contextlib.nullcontext() if recompute is None else _forgetting(x, recompute)
    with keeping:
        result = _Branch.apply(x, added, norm_eps, form, hold, *weights)
    return volume(result, sides)


def _forgetting(x: Tensor, recompute: Callable[[], Tensor]) -> torch.autograd.graph.saved_tensors_hooks:
    """Saves everything for the backward pass but x, which is computed again when it is needed."""

    def pack(tensor: Tensor) -> Tensor | None:
        return None if tensor.data_ptr() == x_at and tensor.shape == x_shape else tensor

    def unpack(kept: Tensor | None) -> Tensor:
        if kept is not None:
            return kept
        with torch.no_grad():
            return rows(channels_last(recompute()))

    x_at, x_shape = x.data_ptr(), x.shape  # not x itself: the hooks live as long as the graph
    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


class _Branch(torch.autograd.Function):
    """Rows (B, V, C), rows (B, V, C_out) or None -> rows (B, V, C_out)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, norm_eps: float, form: GrnForm, hold: Hold, *weights: Tensor
    ) -> Tensor:
        w = BranchWeights(*weights)
        result = torch.empty(*x.shape[:2], len(w.compress_weight))
        saved: list[Tensor] = []
        needs_gradient = hold != Hold.UNTIL_COMPRESSED
        for sample in range(len(x)):
            one = _Sample(x[sample], _of_sample(w, sample), form)
            one.measure(norm_eps)
            kept = one.forward(result[sample], None if residual is None else residual[sample], hold)
            saved += [one.mean, one.inverse_deviation, one.norm, *kept]
        ctx.form, ctx.kept = form, (len(saved) // len(x) if needs_gradient else 0)
        if needs_gradient:
            ctx.save_for_backward(x, *weights, *saved)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, *others = ctx.saved_tensors
        weights, saved = others[: len(BranchWeights._fields)], others[len(BranchWeights._fields) :]
        w = BranchWeights(*weights)
        gradient = gradient.contiguous()
        x_gradient = torch.empty_like(x)
        samples = []
        for sample in range(len(x)):
            one = _Sample(x[sample], _of_sample(w, sample), ctx.form)
            one.mean, one.inverse_deviation, one.norm, *kept = saved[sample * ctx.kept : (sample + 1) * ctx.kept]
            samples.append(one.backward(gradient[sample], x_gradient[sample], kept))
        norms = (torch.stack([s[i] for s in samples]) for i in (0, 1))  # type: ignore[misc]
        shared = (
            None if value is None else sum(s[i] for s in samples)  # type: ignore[misc]
            for i, value in enumerate(w) if i > 1
        )  # fmt: skip
        return x_gradient, gradient if ctx.needs_input_grad[1] else None, None, None, None, *norms, *shared


def _of_sample(weights: BranchWeights, sample: int) -> BranchWeights:
    return weights._replace(norm_weight=weights.norm_weight[sample], norm_bias=weights.norm_bias[sample])


class _Sample:
    """One sample's rows (V, C): its statistics, and both passes over them. All sums over V end in float32 or better."""

    mean: Tensor  # (C,), and of the same shape 1 / sqrt(variance + eps)
    inverse_deviation: Tensor
    norm: Tensor  # (E,): GRN's, the Euclidean norm of every expanded channel; empty without GRN

    def __init__(self, x: Tensor, weights: BranchWeights, form: GrnForm) -> None:
        self.x, self.w, self.form = x, weights, form
        self.parts = x.split(rows_at_a_time(len(weights.expand_weight)))
        # The norm's own weight and bias, folded: normalised rows go in.
        self.expand_weight = weights.expand_weight * weights.norm_weight
        self.expand_bias = weights.expand_bias + weights.expand_weight @ weights.norm_bias

    def measure(self, eps: float) -> None:
        """Computes each channel's mean and variance: of parts in float32, joined in float64 (Chan et al., 1983)."""
        counts = torch.tensor([len(part) for part in self.parts], dtype=torch.float64)[:, None]
        means, squares = [], []
        for part in self.parts:
            means.append(part.mean(0))
            squares.append((part - means[-1]).square_().sum(0))
        mean_of_parts, total = torch.stack(means).double(), counts.sum()
        mean = (mean_of_parts * counts).sum(0) / total
        between = ((mean_of_parts - mean).square() * counts).sum(0)
        variance = (torch.stack(squares).double().sum(0) + between) / total
        self.mean, self.inverse_deviation = mean.float(), (variance + eps).rsqrt().float()

    def forward(self, result: Tensor, residual: Tensor | None, hold: Hold) -> list[Tensor]:
        """Fills `result` (V, C_out); returns the expanded rows before GELU where they are held for the gradients."""
        w, has_grn = self.w, self.w.grn_gamma is not None
        squares = torch.zeros(len(w.expand_weight) if has_grn else 0, dtype=torch.float64)
        kept: list[Tensor] = []
        active: list[Tensor | None] = []
        for part in self.parts if has_grn or hold != Hold.NOTHING else ():
            if hold == Hold.FOR_GRADIENTS:
                kept.append(self._expanded(part))
                h = F.gelu(kept[-1])
            else:
                h = self._active(part)
            if has_grn:
                squares += h.square().sum(0)
            active.append(h if hold != Hold.NOTHING else None)
        self.norm = squares.sqrt().float()
        weight, bias = w.compress_weight, w.compress_bias
        if w.grn_beta is not None:
            weight, bias = weight * self._scale(), torch.addmv(bias, weight, w.grn_beta)
        targets = result.split(len(self.parts[0]))
        residuals = [None] * len(targets) if residual is None else residual.split(len(self.parts[0]))
        for i, (part, target, added) in enumerate(zip(self.parts, targets, residuals, strict=True)):
            held = active[i] if active else None
            torch.addmm(bias, self._active(part) if held is None else held, weight.t(), out=target)
            if added is not None:
                target += added
            if active:
                active[i] = None  # freed as soon as it is compressed
        return kept

    def backward(self, gradient: Tensor, x_gradient: Tensor, kept: list[Tensor]) -> BranchWeights:
        """Fills `x_gradient` (V, C); returns the gradients of the weights.

        With h the active rows, s GRN's scale and W the compression: M = gradient^T h gives W's gradient, s's, and with
        it GRN's share k * h in the gradient of h. With u the expanded rows, n the normalised ones and V the expansion:
        P = du^T n gives V's gradient and the sums of dn and dn * n, which the norm's gradient needs.
        """
        w, step = self.w, len(self.parts[0])
        gradients, x_gradients = gradient.split(step), x_gradient.split(step)
        m = torch.zeros_like(w.compress_weight)
        for i, (part, dy) in enumerate(zip(self.parts, gradients, strict=True)):
            m.addmm_(dy.t(), F.gelu(kept[i]) if kept else self._active(part))
        bias_gradient = gradient.sum(0)
        compress_gradient, gamma_gradient, beta_gradient, k = self._grn_backward(m, bias_gradient)
        weight = w.compress_weight if k is None else w.compress_weight * self._scale()

        p, expand_bias_gradient = torch.zeros_like(w.expand_weight), torch.zeros_like(w.expand_bias)
        for i, (part, dy, dx) in enumerate(zip(self.parts, gradients, x_gradients, strict=True)):
            u = kept[i] if kept else self._expanded(part)
            dh = torch.mm(dy, weight)
            if k is not None:
                dh.addcmul_(F.gelu(u), k)
            du = torch.ops.aten.gelu_backward(dh, u)
            p.addmm_(du.t(), self._normalised(part))
            expand_bias_gradient += du.sum(0)
            torch.mm(du, self.expand_weight, out=dx)
        norm_gradients = (w.expand_weight * p).sum(0), w.expand_weight.t() @ expand_bias_gradient
        self._norm_backward(x_gradients, *norm_gradients)
        expand_gradient = p * w.norm_weight + expand_bias_gradient[:, None] * w.norm_bias
        return BranchWeights(
            *norm_gradients, expand_gradient, expand_bias_gradient, compress_gradient, bias_gradient, gamma_gradient,
            beta_gradient,
        )  # fmt: skip

    def _normalised(self, part: Tensor) -> Tensor:
        return torch.addcmul(-self.mean * self.inverse_deviation, part, self.inverse_deviation)

    def _expanded(self, part: Tensor) -> Tensor:
        return F.linear(self._normalised(part), self.expand_weight, self.expand_bias)

    def _active(self, part: Tensor) -> Tensor:
        return linear_gelu(self._normalised(part), self.expand_weight, self.expand_bias)

    def _response(self) -> tuple[Tensor, Tensor]:
        """Computes each channel's norm over the mean norm (E,), "sum": over the channels as well; and the mean norm."""
        mean = self.norm.mean() + self.form.eps
        return self.norm / (mean * len(self.norm) if self.form.is_sum else mean), mean

    def _scale(self) -> Tensor:
        assert self.w.grn_gamma is not None
        return 1 + self.w.grn_gamma * self._response()[0]

    def _grn_backward(self, m: Tensor, bias_gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, Any]:
        """Gradients of compression, gamma and beta, and k (E,), with which GRN's norm adds k * h to the one of h."""
        w = self.w
        if w.grn_gamma is None or w.grn_beta is None:
            return m, None, None, None
        response, mean = self._response()
        scale_gradient = (m * w.compress_weight).sum(0)
        response_gradient = scale_gradient * w.grn_gamma
        if self.form.is_sum:
            response_gradient = response_gradient / len(self.norm)
        through_mean = (response_gradient * self.norm).sum() / (mean * len(self.norm))
        norm_gradient = (response_gradient - through_mean) / mean
        k = torch.where(self.norm > 0, norm_gradient / self.norm, 0)
        compress_gradient = m * self._scale() + bias_gradient[:, None] * w.grn_beta
        return compress_gradient, scale_gradient * response, w.compress_weight.t() @ bias_gradient, k

    def _norm_backward(self, x_gradients: tuple[Tensor, ...], by_weight: Tensor, by_bias: Tensor) -> None:
        """Turns the gradients of the normalised rows into those of x, in place: r (dn - mean(dn) - n mean(dn n))."""
        r, count = self.inverse_deviation, len(self.x)
        along = -r * r * self.w.norm_weight * by_weight / count
        constant = -r * self.w.norm_weight * by_bias / count - along * self.mean
        for part, dx in zip(self.parts, x_gradients, strict=True):
            dx.mul_(r).addcmul_(part, along).add_(constant)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Computes gelu(x W^T + b) by erf; where oneDNN is reached from torch, in one pass."""
    fused = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if fused is None:
        return F.gelu(F.linear(x, weight, bias))
    result: Tensor = fused(x, weight, bias, "gelu", [], "none")
    return result
