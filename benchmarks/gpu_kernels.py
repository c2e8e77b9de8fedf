"""The Triton kernels on a GPU against PyTorch's own kernels and cuDNN's, at every level of MedNeXt-B.

    python benchmarks/gpu_kernels.py [--patch 112 160 128] [--calls 20] [--save]

Depthwise convolution (kernel 3 and 5; forward, input gradient, weight gradient): ours, PyTorch's native kernel
(contiguous tensors), cuDNN's (channels_last_3d). Branch (norm, expansion, GELU, GRN, compression, residual; forward and
backward), at the levels that the kernels are for: ours, plain PyTorch, the same under torch.compile. The floor is the
bytes that the operation must read and write over the rate of a large copy on the same GPU. Without a CUDA GPU the
script says so and ends.
"""

from collections.abc import Callable, Sequence
from typing import Any

import harness

CHANNELS, EXPANSION = 32, (2, 3, 4, 4, 4)
DEVICE = "cuda"
COPY_BYTES = 2**31
WEIGHT_GRADIENT, INPUT_GRADIENT = "weight gradient", "input gradient"
COLUMNS = [
    "level",
    "operation",
    "type",
    "ours, ms",
    "{0}, ms",
    "ratio",
    "{1}, ms",
    "ratio",
    "floor, ms",
    "floor / ours",
]


def main() -> None:
    """Measures and reports."""
    options = harness.parser(__doc__)
    options.add_argument("--patch", type=int, nargs=3, default=(112, 160, 128), metavar=("D", "H", "W"))
    options.add_argument("--calls", type=int, default=20, help="that are timed together; the time of one is shown")
    chosen = options.parse_args()
    import torch

    from nnunetv2_comnet.networks.experimental.triton import available

    if not torch.cuda.is_available():
        print("gpu_kernels: skipped, as there is no CUDA GPU")
        return
    if not available("cuda"):
        print("gpu_kernels: skipped, as the kernels need triton 3.3 or newer and a GPU since Ampere")
        return
    torch.backends.cudnn.benchmark = True
    timer = Timer(chosen.calls)
    patch = tuple(chosen.patch)
    tables = [_depthwise_table(timer, patch, size) for size in (3, 5)] + [_branch_table(timer, patch)]
    notes = [
        f"patch {harness.sides(patch)}, batch 1; medians of {harness.PAIRS} interleaved pairs of {chosen.calls} "
        "calls; ratio: ours over the peer, below 1 is faster",
        f"copy of {COPY_BYTES >> 30} GiB, read and written: {timer.rate / 1e9:.0f} GB/s",
    ]
    harness.report("gpu_kernels", tables, notes, chosen.save)


class Timer:
    """Times functions that start work on the GPU, several calls together, and knows the rate of a copy."""

    def __init__(self, calls: int) -> None:
        import torch

        self.calls = calls
        source = torch.empty(COPY_BYTES // 4, device=DEVICE)
        target = torch.empty_like(source)
        copies = self.pairs(lambda: target.copy_(source), lambda: target.copy_(source))
        self.rate = 2 * COPY_BYTES * calls / min(copies.ours, copies.peer)  # bytes a second

    def pairs(self, ours: Callable[[], object], peer: Callable[[], object]) -> harness.Pairs:
        """Seconds of `calls` calls of each."""
        return harness.interleaved(self._many(ours), self._many(peer), warmup=2)

    def row(self, ours: Callable[[], object], peers: Sequence[Callable[[], object]], moved: int) -> list[float]:
        """Ours, then each peer and the ratio, the floor for so many bytes, and its share of our time; milliseconds."""
        to_ms = 1e3 / self.calls
        found = [self.pairs(ours, peer) for peer in peers]
        mine, floor = min(pairs.ours for pairs in found) * to_ms, moved / self.rate * 1e3
        cells = [mine]
        for pairs in found:
            cells += [pairs.peer * to_ms, pairs.ratio]
        return [*cells, floor, floor / mine]

    def _many(self, function: Callable[[], object]) -> Callable[[], None]:
        import torch

        def call() -> None:
            for _ in range(self.calls):
                function()
            torch.cuda.synchronize()

        return call


def _levels(patch: Sequence[int]) -> list[tuple[int, int, list[int]]]:
    """Channels, expanded channels and sides of each level's blocks."""
    return [(CHANNELS << i, (CHANNELS << i) * r, [side >> i for side in patch]) for i, r in enumerate(EXPANSION)]


def _depthwise_table(timer: Timer, patch: Sequence[int], size: int) -> harness.Table:
    import torch

    columns = [column.format("native", "cuDNN") for column in COLUMNS]
    table = harness.Table(f"Depthwise convolution, kernel {size}", columns)
    for level, (channels, _, sides) in enumerate(_levels(patch)):
        for dtype in (torch.float16, torch.bfloat16):
            x = torch.randn(1, channels, *sides, device=DEVICE, dtype=dtype)
            weight = torch.randn(channels, 1, size, size, size, device=DEVICE, dtype=dtype)
            moved = 2 * x.numel() * x.element_size()
            operations = zip(_ours(x, weight), _native(x, weight), _native(*_channels_last(x, weight)), strict=True)
            for (name, ours), (_, native), (_, cudnn) in operations:
                table.add(level, name, _name(dtype), *timer.row(ours, [native, cudnn], moved))
    return table


def _channels_last(*tensors: Any) -> list[Any]:
    import torch

    return [tensor.to(memory_format=torch.channels_last_3d) for tensor in tensors]


def _ours(x: Any, weight: Any) -> list[tuple[str, Callable[[], object]]]:
    import torch

    from nnunetv2_comnet.networks.experimental.triton import depthwise_conv3d

    operators = torch.ops.nnunetv2_comnet
    return [
        ("forward", lambda: depthwise_conv3d(x, weight)),
        (INPUT_GRADIENT, lambda: operators.depthwise_conv3d_input_gradient(x, weight)),
        (WEIGHT_GRADIENT, lambda: operators.depthwise_conv3d_weight_gradient(x, x, weight.shape[-1])),
    ]


def _native(x: Any, weight: Any) -> list[tuple[str, Callable[[], object]]]:
    """PyTorch's choice for the layout: its own kernels for contiguous tensors, cuDNN's for channels-last ones."""
    import torch

    padding, channels = [weight.shape[-1] // 2] * 3, x.shape[1]

    def backward(*mask: bool) -> object:
        return torch.ops.aten.convolution_backward(
            x, x, weight, None, [1] * 3, padding, [1] * 3, False, [0] * 3, channels, mask
        )

    return [
        ("forward", lambda: torch.nn.functional.conv3d(x, weight, padding=padding, groups=channels)),
        (INPUT_GRADIENT, lambda: backward(True, False, False)),
        (WEIGHT_GRADIENT, lambda: backward(False, True, False)),
    ]


def _branch_table(timer: Timer, patch: Sequence[int]) -> harness.Table:
    """Both directions; the parameters are float32 and the input half, as under autocast."""
    import torch

    from nnunetv2_comnet.networks.experimental.triton import suits_branch

    table = harness.Table("Branch behind the depthwise convolution", [c.format("eager", "compiled") for c in COLUMNS])
    for level, (channels, expanded, sides) in enumerate(_levels(patch)):
        for dtype in (torch.float16, torch.bfloat16):
            x = torch.randn(1, channels, *sides, device=DEVICE, dtype=dtype, requires_grad=True)
            if not suits_branch(x, channels):
                continue
            parameters = _parameters(channels, expanded)
            functions = [_our_branch, _plain_branch, torch.compile(_plain_branch, fullgraph=True)]
            # Forward: the input for its statistics and again, the expanded tensor out and in, residual, output.
            plane = x[0, 0].numel() * x.element_size()
            moved = {"forward": (4 * channels + 2 * expanded) * plane}
            # Backward: gradient, hidden and its gradient out; input and hidden's gradient twice; the input's gradient.
            moved["backward"] = (4 * channels + 4 * expanded) * plane
            calls = [_directions(function, x, parameters, dtype) for function in functions]
            for name in moved:
                ours, eager, compiled = (call[name] for call in calls)
                table.add(level, name, _name(dtype), *timer.row(ours, [eager, compiled], moved[name]))
    return table


def _parameters(channels: int, expanded: int) -> list[Any]:
    """Norm weight and bias, expansion, GRN's gamma and beta, compression."""
    import torch

    shapes = [(channels,)] * 2 + [(expanded, channels), (expanded,), (expanded,), (expanded,)]
    shapes += [(channels, expanded), (channels,)]
    return [(0.1 * torch.randn(shape, device=DEVICE)).requires_grad_() for shape in shapes]


def _directions(function: Any, x: Any, parameters: list[Any], dtype: Any) -> dict[str, Callable[[], object]]:
    import torch

    def forward() -> Any:
        with torch.autocast("cuda", dtype):
            return function(x, *parameters)

    out = forward()
    by = torch.randn_like(out)
    return {
        "forward": forward,
        "backward": lambda: torch.autograd.grad(out, [x, *parameters], by, retain_graph=True),
    }


def _our_branch(x: Any, *parameters: Any) -> Any:
    from nnunetv2_comnet.networks.experimental.triton.compression import grn_compress, grn_scale
    from nnunetv2_comnet.networks.experimental.triton.expansion import norm_expand_gelu

    norm_weight, norm_bias, weight, bias, gamma, beta, out_weight, out_bias = parameters
    hidden, squares = norm_expand_gelu(x, norm_weight, norm_bias, weight, bias)
    return grn_compress(hidden, grn_scale(squares, gamma), beta, out_weight, out_bias, x)


def _plain_branch(x: Any, *parameters: Any) -> Any:
    """Plain PyTorch, GRN as the papers write it."""
    import torch.nn.functional as F

    norm_weight, norm_bias, weight, bias, gamma, beta, out_weight, out_bias = parameters
    hidden = F.group_norm(x, x.shape[1], norm_weight, norm_bias)
    hidden = F.gelu(F.conv3d(hidden, weight[:, :, None, None, None], bias))
    norm = hidden.float().square().sum(dim=(2, 3, 4), keepdim=True).sqrt()
    response = norm / (norm.mean(dim=1, keepdim=True) + 1e-6)
    column = (1, -1, 1, 1, 1)
    hidden = gamma.view(column) * (hidden * response) + beta.view(column) + hidden
    return x + F.conv3d(hidden, out_weight[:, :, None, None, None], out_bias)


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
