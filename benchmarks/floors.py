"""What MedNeXt-B must cost on this machine: its arithmetic and memory traffic, and how near we come. Where time goes.

    python benchmarks/floors.py [--patch 64 80 64] [--mednext-source DIR] [--save]

Work is counted, not measured: floating-point operations of every convolution and matrix product (two per
multiply-add), and the bytes that every operation of the plain formula reads and writes. "least bytes": what remains if
every block touches memory only to read its input twice (depthwise convolution, residual) and to write and read the
depthwise result and its own output. The machine's two rates are measured here: a large matrix product and a large copy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import harness
from harness import sides
from parts.work import COPY_FLOATS, FLOAT_BYTES, MATRIX, REPEATS, copy_rate, counted, matrix_rate, seconds_of

REAL_PATCH = (112, 160, 128)
# Operations by what they are for; the rest is summed up as "other".
CLASSES = {
    "pointwise (matrix products)": ("addmm", "addmm_", "mm", "bmm", "baddbmm", "_linear_pointwise", "linear"),
    "convolution (official: pointwise ones too)": (
        "mkldnn_convolution",
        "slow_conv3d_forward",
        "slow_conv_transpose3d",
    ),
    "convolution, backward (the same)": ("convolution_backward",),
    "GELU": ("gelu", "gelu_backward"),
    "group norm": ("native_group_norm", "native_group_norm_backward"),
    "elementwise": ("mul", "mul_", "add", "add_", "div", "sub", "pow", "pow_", "addcmul", "addcmul_", "neg", "where"),
    "sums and norms": ("sum", "mean", "linalg_vector_norm", "norm", "sqrt"),
    "copies": ("copy_", "fill_", "cat", "constant_pad_nd", "zero_"),
}


def main() -> None:
    """Counts, measures and reports."""
    options = harness.parser(__doc__)
    options.add_argument("--patch", type=int, nargs=3, default=(64, 80, 64), metavar=("D", "H", "W"))
    chosen = options.parse_args()
    from nnunetv2_comnet.trainers.device import tune_for_cpu

    tune_for_cpu()
    patch = tuple(chosen.patch)
    flops, rate = matrix_rate(), copy_rate()
    tables = [_work_table(REAL_PATCH, flops, rate), _fraction_table(patch, flops, rate)]
    tables.append(_activations_table(REAL_PATCH))
    tables += _profiles(patch, chosen.mednext_source)
    notes = [
        f"matrix product {MATRIX} x {MATRIX}: {flops / 1e9:.0f} GFLOP/s; copy of {COPY_FLOATS * 4 >> 20} MiB, read "
        f"and written: {rate / 1e9:.1f} GB/s (medians of {REPEATS})",
        "profiles: self time of every operation, one run after two that warm up, as shares of their sum",
    ]
    harness.report("floors", tables, notes, chosen.save)


def _work_table(patch: Sequence[int], flops: float, rate: float) -> harness.Table:
    table = harness.Table(
        f"Work at patch {sides(patch)}, batch 1, float32",
        ["task", "TFLOP", "GB of the plain formula", "least GB", "arithmetic floor, s", "memory floor, s"],
    )
    for name, work, moved, least in counted(patch):
        table.add(name, work / 1e12, moved / 1e9, least and least / 1e9, work / flops, (least or moved) / rate)
    return table


def _activations_table(patch: Sequence[int]) -> harness.Table:
    """What the plain formula (GPUs take it) saves for the backward pass, counted on tensors without data."""
    import torch

    from nnunetv2_comnet.networks import mednext
    from nnunetv2_comnet.networks.mednext import CHECKPOINTING

    table = harness.Table(
        f"Saved activations at patch {sides(patch)}, batch 1", ["checkpointing", "GiB at 2 bytes", "at 4"]
    )
    for mode in CHECKPOINTING:
        saved: dict[int, Any] = {}
        with torch.device("meta"):
            network, x = mednext("B", checkpointing=mode), torch.empty(1, 4, *patch)
        weights = {id(parameter.untyped_storage()) for parameter in network.parameters()}

        def keep(tensor: Any, saved: dict[int, Any] = saved, weights: set[int] = weights) -> Any:
            if isinstance(tensor, torch.nn.Parameter) or id(tensor.untyped_storage()) in weights:
                return tensor
            saved[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(x)
        elements = sum(tensor.untyped_storage().nbytes() / FLOAT_BYTES for tensor in saved.values())
        del outputs
        table.add(mode, 2 * elements / 2**30, 4 * elements / 2**30)
    return table


def _fraction_table(patch: Sequence[int], flops: float, rate: float) -> harness.Table:
    """Measured against the larger floor."""
    table = harness.Table(f"Measured at patch {sides(patch)}", ["task", "seconds", "floor, s", "floor over measured"])
    run = _run_ours(patch)
    for work, task in zip(counted(patch)[:2], run, strict=True):
        floor, seconds = work.floor_seconds(flops, rate), seconds_of(task)
        table.add(work.name, seconds, floor, floor / seconds)
    return table


def _run_ours(patch: Sequence[int]) -> list[Callable[[], object]]:
    import torch

    from nnunetv2_comnet.networks import mednext

    torch.manual_seed(0)
    return _run(mednext("B"), torch.randn(1, 4, *patch))


def _run(network: Any, x: Any) -> list[Callable[[], object]]:
    """Inference, and forward with backward."""
    import torch

    def inference() -> None:
        with torch.inference_mode():
            network(x)

    def training() -> None:
        network.zero_grad()
        sum(y.square().mean() for y in network(x)).backward()

    return [inference, training]


def _profiles(patch: Sequence[int], source: Any) -> list[harness.Table]:
    """Shares of time by class of operation: the official network's, that is before, and ours."""
    import torch

    networks: dict[str, list[Callable[[], object]]] = {}
    network = harness.official_b(source, 4, 3, deep_supervision=True)
    if network is not None:
        networks["official"] = _run(network, torch.randn(1, 4, *patch))
    networks["ours"] = _run_ours(patch)
    tables = []
    for number, task in enumerate(("inference", "training step")):
        shares = {name: _shares(tasks[number]) for name, tasks in networks.items()}
        columns = [f"{name}, {unit}" for name in shares for unit in ("s", "%")]
        table = harness.Table(f"Where the time goes: {task}", ["operations", *columns])
        for kind in [*CLASSES, "other"]:
            cells: list[float] = []
            for times in shares.values():
                cells += [times.get(kind, 0.0), 100 * times.get(kind, 0.0) / sum(times.values())]
            table.add(kind, *cells)
        tables.append(table)
    return tables


def _shares(task: Callable[[], object]) -> dict[str, float]:
    """Seconds of self time by class of operation."""
    from torch.profiler import ProfilerActivity, profile

    task(), task()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        task()
    times: dict[str, float] = {}
    for event in profiled.key_averages():
        name = event.key.split("::")[-1]
        kind = next((kind for kind, names in CLASSES.items() if name in names), "other")
        times[kind] = times.get(kind, 0.0) + event.self_cpu_time_total / 1e6
    return times


if __name__ == "__main__":
    main()
