"""MedNeXt-B with GRN on a CPU: ours against the official code's and MONAI's, seconds, page faults and memory.

    python benchmarks/network.py [--patch 64 80 64] [--pairs 5] [--mednext-source DIR] [--save]

Each network lives in a process of its own, all in the default environment: the peers as their users run them, ours with
what our trainer and predictor set (`tune_for_cpu`). A second table gives the peers the same settings, binds every
network's threads to cores, and adds what checkpointing costs. The floor is the larger of the counted arithmetic over
this machine's rate in a matrix product and the least traffic over its rate in a copy; the fraction is floor over ours.
In a round every network runs a few times in a row, as tiles and training steps do; the first run does not count, the
median of the others does: after a pause a system may keep a process's threads on one core for a while. The order
changes from round to round. A training step is forward, five heads' binary cross-entropy, backward and AdamW. The
weights are random. Peak memory is a fresh process's, above what it held before the network was built.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import harness
from parts.work import copy_rate, counted, matrix_rate

from nnunetv2_comnet.workers import allowed_cores

OURS, OURS_SMALL, OFFICIAL, OFFICIAL_SMALL, MONAI = (
    "ours", "ours, checkpointing expansion", "official", "official, checkpointing blocks", "MONAI",
)  # fmt: skip
CHANNELS, REGIONS, LEVELS = 4, 3, 5
LR = 1e-3
IN_A_ROW = {"infer": 4, "train": 2}
BOUND = {"OMP_PROC_BIND": "true"}  # read when a process starts; the threads of data loading would inherit it


def main() -> None:
    """Measures and reports; `--child` is the process of one network."""
    options = harness.parser(__doc__, pairs=True)
    options.add_argument("--patch", type=int, nargs=3, default=(64, 80, 64), metavar=("D", "H", "W"))
    options.add_argument("--threads", type=int, default=None, help="of each network; default: all cores")
    options.add_argument("--child", nargs=2, metavar=("NETWORK", "TUNED"), help="used by the script itself")
    chosen = options.parse_args()
    patch = tuple(chosen.patch)
    if chosen.child:
        _child(chosen.child[0], chosen.child[1] == "tuned", patch, chosen.mednext_source, chosen.threads)
        return
    peers = [OFFICIAL] if harness.official_mednext(chosen.mednext_source) else []
    peers += [MONAI] if _has_monai() else []
    if not peers:
        print("nothing to compare with: name the official code with --mednext-source, or install monai")
        return
    floors = _floors(patch, chosen.threads)
    children = _Children(patch, chosen.mednext_source, chosen.threads)
    bound = "With ours' memory settings and bound threads for all"
    tables = [
        _times("As a user runs it", children, peers, False, chosen.pairs, floors),
        _times(bound, children, [*peers, OURS_SMALL], True, chosen.pairs, floors),
        _memory(children, [*peers, *([OFFICIAL_SMALL] if OFFICIAL in peers else [])]),
    ]
    harness.report("network", tables, [f"patch {harness.sides(patch)}, float32, batch 1, "
                   f"{chosen.threads or allowed_cores()} threads; "
                   f"medians of {chosen.pairs} interleaved rounds; ratio: ours over the peer, below 1 is faster"],
                   chosen.save)  # fmt: skip


class _Child:
    """One network in its process: `ask("infer")` runs it once and tells seconds and minor page faults."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
        )

    def ask(self, task: str) -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        print(task, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a network's process ended with {self._process.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class _Children:
    def __init__(self, patch: Sequence[int], source: Path | None, threads: int | None) -> None:
        self._common = ["--patch", *map(str, patch)]
        self._common += ["--mednext-source", str(source)] if source else []
        self._common += ["--threads", str(threads)] if threads else []

    def start(self, network: str, tuned: bool, variables: Mapping[str, str] = MappingProxyType({})) -> _Child:
        child = ["--child", network, "tuned" if tuned else "default"]
        return _Child([sys.executable, __file__, *self._common, *child], variables)


def _floors(patch: Sequence[int], threads: int | None) -> dict[str, float]:
    """Seconds that each task must take on this machine."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    rates = matrix_rate(), copy_rate()
    return {task: work.floor_seconds(*rates) for task, work in zip(("infer", "train"), counted(patch)[:2], strict=True)}


def _times(
    title: str, children: _Children, peers: Sequence[str], tuned: bool, pairs: int, floors: Mapping[str, float]
) -> harness.Table:
    """Rounds in which every network runs a few times in a row, in turns."""
    columns = ["task", "network", "seconds", "ours' seconds", "ratio", "floor, s", "fraction", "minor faults",
               "ours' minor faults"]  # fmt: skip
    table = harness.Table(title, columns)
    variables = BOUND if tuned else {}
    networks = {name: children.start(name, tuned or name == OURS, variables) for name in (OURS, *peers)}
    for task in ("infer", "train"):
        for network in networks.values():
            network.ask(task)  # the first run allocates and builds oneDNN's kernels
        rounds = [_round(networks, task, number) for number in range(pairs)]
        ours, our_faults = (statistics.median(r[OURS][what] for r in rounds) for what in ("seconds", "faults"))
        for peer in peers:
            seconds, faults = (statistics.median(r[peer][what] for r in rounds) for what in ("seconds", "faults"))
            ratio = statistics.median(r[OURS]["seconds"] / r[peer]["seconds"] for r in rounds)
            floor = floors[task]
            table.add(task, peer, seconds, ours, ratio, floor, floor / ours, int(faults), int(our_faults))
    for network in networks.values():
        network.end()
    return table


def _round(networks: Mapping[str, _Child], task: str, number: int) -> dict[str, dict[str, float]]:
    """Every network's seconds and faults, in an order that begins with another network from round to round."""
    names = list(networks)
    begin = number % len(names)
    found = {}
    for name in names[begin:] + names[:begin]:
        row = [networks[name].ask(task) for _ in range(IN_A_ROW[task])][1:]
        found[name] = {what: statistics.median(run[what] for run in row) for what in ("seconds", "faults")}
    return found


def _memory(children: _Children, peers: Sequence[str]) -> harness.Table:
    """Two training steps in a fresh process each: the second has the optimiser's state as well."""
    found = {}
    for name in (OURS, OURS_SMALL, *peers):
        child = children.start(name, True)
        child.ask("train")
        found[name] = child.ask("train")
        child.end()
    table = harness.Table(
        "Peak memory of a training step", ["network", "GiB", "ours over it", "ours with checkpointing over it"]
    )
    for name, answer in found.items():
        peak = answer["peak_gib"]
        table.add(name, peak, found[OURS]["peak_gib"] / peak, found[OURS_SMALL]["peak_gib"] / peak)
    return table


def _child(name: str, tuned: bool, patch: tuple[int, ...], source: Path | None, threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    if tuned:
        from nnunetv2_comnet.trainers.device import tune_for_cpu

        tune_for_cpu()
    before = harness.peak_gib()
    torch.manual_seed(0)
    network = _network(name, source)
    x = torch.randn(1, CHANNELS, *patch)
    targets = [torch.rand(1, REGIONS, *(side >> level for side in patch)).round() for level in range(LEVELS)]
    optimiser = torch.optim.AdamW(network.parameters(), LR, eps=1e-4)
    tasks = {"infer": lambda: _infer(network, x), "train": lambda: _train(network, optimiser, x, targets)}
    for line in sys.stdin:
        faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        tasks[line.strip()]()
        seconds = time.perf_counter() - start
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        print(json.dumps({"seconds": seconds, "faults": faults, "peak_gib": harness.peak_gib() - before}), flush=True)


def _network(name: str, source: Path | None) -> Any:
    if name in (OURS, OURS_SMALL):
        from nnunetv2_comnet.networks import mednext

        return mednext("B", checkpointing="expansion" if name == OURS_SMALL else "none")
    if name == MONAI:
        from monai.networks.nets.mednext import MedNeXt

        return MedNeXt(in_channels=CHANNELS, out_channels=REGIONS, kernel_size=3, deep_supervision=True,
                       encoder_expansion_ratio=harness.EXPANSION_B[:4],
                       bottleneck_expansion_ratio=harness.EXPANSION_B[4],
                       decoder_expansion_ratio=harness.EXPANSION_B[5:], use_residual_connection=True,
                       global_resp_norm=True)  # fmt: skip
    style = "outside_block" if name == OFFICIAL_SMALL else None
    return harness.official_b(source, CHANNELS, REGIONS, deep_supervision=True, checkpoint_style=style)


def _infer(network: Any, x: Any) -> None:
    import torch

    network.eval()
    with torch.inference_mode():
        network(x)


def _train(network: Any, optimiser: Any, x: Any, targets: Sequence[Any]) -> None:
    from torch.nn.functional import binary_cross_entropy_with_logits

    network.train()
    optimiser.zero_grad()
    losses = [binary_cross_entropy_with_logits(y, t) for y, t in zip(network(x), targets, strict=True)]
    sum(loss / 2**level for level, loss in enumerate(losses)).backward()
    optimiser.step()


def _has_monai() -> bool:
    import importlib.util

    if importlib.util.find_spec("monai") is None:
        print("MONAI: skipped, as it is not installed")
        return False
    return True


if __name__ == "__main__":
    main()
