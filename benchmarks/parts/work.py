"""The work that the networks must do, counted, and the two rates of this machine, measured."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

FLOAT_BYTES = 4
MATRIX, COPY_FLOATS, REPEATS = 2048, 2**26, 7
VIEWS = ("view", "expand", "slice", "permute", "transpose", "alias", "select", "detach", "squeeze", "aten.t.", "split")


class Work(NamedTuple):
    """What one run of a task must compute (two operations a multiply-add), move in the plain formula, move at least."""

    name: str
    flops: float
    bytes_moved: float
    least_bytes: float | None

    def floor_seconds(self, flops_a_second: float, bytes_a_second: float) -> float:
        """The larger of the arithmetic and the memory floor."""
        return max(self.flops / flops_a_second, (self.least_bytes or 0) / bytes_a_second)


def matrix_rate() -> float:
    """Floating-point operations a second in a large matrix product."""
    import torch

    a = torch.randn(MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds_of(lambda: a @ a)


def copy_rate() -> float:
    """Bytes a second, read and written, in a large copy."""
    import torch

    source = torch.randn(COPY_FLOATS)
    target = torch.empty_like(source)
    return 2 * FLOAT_BYTES * COPY_FLOATS / seconds_of(lambda: target.copy_(source))


def seconds_of(function: Callable[[], object]) -> float:
    """Median of several runs, after one that does not count."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def counted(patch: Sequence[int]) -> list[Work]:
    """MedNeXt-B's inference and training step at `patch`, batch 1, and the refiner's parts at its tile."""
    import torch

    from nnunetv2_comnet.networks import mednext
    from nnunetv2_comnet.refinement import Refiner, RefinerConfig

    with torch.device("meta"):
        network, x = mednext("B"), torch.empty(1, 4, *patch)
        refiner, config = Refiner(RefinerConfig(), image_channels=4, regions=3), RefinerConfig()
        tile, logits = torch.empty(1, 4, *config.patch_size), torch.empty(1, 3, *config.patch_size)
        latent = torch.empty(1, config.latent_channels, *(s // config.downsampling for s in config.patch_size))
        when = torch.empty(1)

    def inference() -> None:
        network.deep_supervision = False
        with torch.no_grad():
            network(x)

    def training() -> None:
        network.deep_supervision = True
        sum(y.sum() for y in network(x)).backward()

    least = _least_bytes(patch)
    forward = Work("MedNeXt-B, inference", *_count(inference), least)
    # The backward pass has two products for each of the forward pass.
    step = Work("MedNeXt-B, training step", 3 * forward.flops, _count(training)[1], 3 * least)
    with torch.no_grad():
        condition = refiner.encode_condition(tile, logits)
        parts: list[tuple[str, Callable[[], object]]] = [
            ("refiner, condition, once a tile of 96^3", lambda: refiner.encode_condition(tile, logits)),
            ("refiner, one reverse step", lambda: refiner.denoiser(latent, when, condition)),
            ("refiner, decoder", lambda: refiner.decoder(latent)),
        ]
        return [forward, step, *(Work(name, *_count(part), None) for name, part in parts)]


def _count(task: Callable[[], object]) -> tuple[float, float]:
    """Floating-point operations, and bytes that its operations read and write; views cost nothing."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    class Traffic(TorchDispatchMode):
        total = 0.0

        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
            result = function(*arguments, **(options or {}))
            if not any(view in str(function) for view in VIEWS):
                leaves = tree_leaves((arguments, options, result))
                self.total += sum(x.numel() * x.element_size() for x in leaves if isinstance(x, torch.Tensor))
            return result

    counter = FlopCounterMode(display=False)
    with counter, Traffic() as traffic:
        task()
    return float(counter.get_total_flops()), traffic.total


def _least_bytes(patch: Sequence[int]) -> float:
    """Per block: its input read for the depthwise convolution and the residual, both results written and read once."""
    import torch

    from nnunetv2_comnet.networks import mednext
    from nnunetv2_comnet.networks.blocks import MedNeXtBlock

    total = 0

    def add(block: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        depthwise = inputs[0].numel() * output[0, 0].numel() // inputs[0][0, 0].numel()
        total += (2 * inputs[0].numel() + 2 * depthwise + 2 * output.numel()) * FLOAT_BYTES

    with torch.device("meta"), torch.no_grad():
        network = mednext("B", deep_supervision=False)
        for module in network.modules():
            if isinstance(module, MedNeXtBlock):
                module.register_forward_hook(add)
        network(torch.empty(1, 4, *patch))
    return float(total)
