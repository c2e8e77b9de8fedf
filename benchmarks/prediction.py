"""A whole patient predicted by one fold: ours, and by stock nnU-Net its ResEnc networks and the official MedNeXt-B.

    python benchmarks/prediction.py [CASE_FOLDER] [--mednext-source DIR] [--mirroring] [--patch Z Y X] [--crop Z Y X]
                                    [--peers NAME ...]

CASE_FOLDER: a case as BraTS 2021 ships it; without one, a patient is generated. Every prediction runs in a process of
its own, in the user's environment, so that peak memory is its own and no tuning reaches a peer. Weights are random:
time and memory do not depend on them. Only where the refiner must look does, so the coarse map that it gets is made
from the truth: a sigmoid of the distance to each region's boundary. Everything lies in a temporary folder.
At the full patch a prediction takes minutes on a CPU; `--patch 64 80 64 --crop 96 112 96` is quick.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Pairs, Table, official_b, official_mednext, parser, peak_gib, report, sides, synchronise
from parts.patient import CHANNELS, NAME, RESENC_PLANS, made_coarse_map, prepare, set_variables

STEPS = (25, 8, 4, 1)
ROUNDS = 3  # of the refiner with each number of steps
OURS, OFFICIAL = "ours", "official MedNeXt-B + GRN"


def main() -> None:
    """Parses the command line, prepares the patient and the models, measures, reports."""
    options = parser(__doc__)
    options.add_argument("case", type=Path, nargs="?", metavar="CASE_FOLDER")
    options.add_argument("--mirroring", action="store_true", help="average over the eight mirrored images")
    options.add_argument("--tile-step", type=float, default=0.5)
    options.add_argument("--patch", type=int, nargs=3, metavar=("Z", "Y", "X"), help="other than 112 160 128")
    options.add_argument("--crop", type=int, nargs=3, metavar=("Z", "Y", "X"), help="of the images, round the tumour")
    peers = [*RESENC_PLANS, OFFICIAL]
    options.add_argument("--peers", nargs="+", choices=peers, default=peers, metavar="NAME", help=" | ".join(peers))
    options.add_argument("--pairs", type=int, help="predictions of each (default: 1 on a CPU, 5 on a GPU)")
    options.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options.add_argument("--child", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        return child(json.loads(chosen.child))
    chosen.pairs = chosen.pairs or (1 if chosen.device == "cpu" else 5)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), chosen)


def measure(root: Path, chosen: argparse.Namespace) -> None:
    """Prepares everything below `root`, runs each network in turn, then the refiner, and reports."""
    images = prepare(root, chosen.case, chosen.crop, chosen.patch)
    found_official = OFFICIAL in chosen.peers and official_mednext(chosen.mednext_source)
    kinds = [OURS, *(peer for peer in chosen.peers if peer != OFFICIAL or found_official)]
    task = {
        "root": str(root),
        "images": [str(image) for image in images],
        "mirroring": chosen.mirroring,
        "tile_step": chosen.tile_step,
        "device": chosen.device,
        "source": str(chosen.mednext_source),
    }
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for number in range(chosen.pairs):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            found[kind].append(in_a_process({**task, "kind": kind}))
    refiner = in_a_process({**task, "kind": "refiner"})
    notes = [
        f"Run: {'a real case' if chosen.case else 'a generated patient'}, preprocessed "
        f"{sides(refiner['shape'])} voxels{' (cropped)' if chosen.crop else ''}, one fold, tile step "
        f"{chosen.tile_step}, mirroring {'on' if chosen.mirroring else 'off'}, {chosen.device}, random weights, "
        f"{chosen.pairs} prediction(s) of each in turn, each in a process of its own; medians. The refiner: "
        f"{ROUNDS} times with each number of steps in turn; medians.",
        "Whole: from the image files to the written mask, model loaded. Outside: whole less network, in percent of "
        "the network.",
    ]
    report("prediction", [folds(found), ratios(found), refining(refiner, found[OURS])], notes, chosen.save)


def folds(found: dict[str, list[dict[str, Any]]]) -> Table:
    """What one fold costs with each network."""
    table = Table(
        "One fold, one patient",
        ["network", "patch", "tiles", "network, s", "whole, s", "outside, %", "peak memory, GiB"],
    )
    for kind, runs in found.items():
        network, whole, peak = (median(runs, name) for name in ("network", "whole", "peak"))
        table.add(
            kind, sides(runs[0]["patch"]), runs[0]["tiles"], network, whole, 100 * (whole - network) / network, peak
        )
    return table


def ratios(found: dict[str, list[dict[str, Any]]]) -> Table:
    """Ours over each peer, pair by pair."""
    table = Table("Ours over the peers", ["peer", "ours, whole, s", "peer, whole, s", "ratio, whole", "ratio, network"])
    for kind in list(found)[1:]:
        of = {
            name: Pairs(tuple(r[name] for r in found[OURS]), tuple(r[name] for r in found[kind]))
            for name in ("whole", "network")
        }
        table.add(kind, of["whole"].ours, of["whole"].peer, of["whole"].ratio, of["network"].ratio)
    return table


def refining(refiner: dict[str, Any], ours: list[dict[str, Any]]) -> Table:
    """What the refiner adds, by its number of steps, to the whole prediction without it."""
    whole, network = median(ours, "whole"), median(ours, "network")
    mirrored = whole if refiner["mirroring"] else whole + 7 * network
    table = Table(
        f"The refiner, {refiner['tiles_run']} of {refiner['tiles']} tiles",
        ["steps", "refiner, s", "whole with it / without", "the same, mirroring on", "peak memory, GiB"],
    )
    for steps, seconds in zip(STEPS, refiner["seconds"], strict=True):
        table.add(steps, seconds, 1 + seconds / whole, 1 + seconds / mirrored, refiner["peak"])
    return table


def median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def in_a_process(task: dict[str, Any]) -> dict[str, Any]:
    """What the child says on its last line."""
    print(f"prediction: {task['kind']}", file=sys.stderr, flush=True)
    words = [sys.executable, __file__, "--child", json.dumps(task)]
    answer = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    said: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return said


def child(task: dict[str, Any]) -> None:
    """One measurement; nothing but its result reaches standard output."""
    set_variables(Path(task["root"]))
    work = {OURS: predict_ours, "refiner": refine}.get(task["kind"], predict_stock)
    with contextlib.redirect_stdout(io.StringIO()):
        found = work(task)
        found["peak"] = peak_on(task["device"])
    print(json.dumps(found))


def predict_ours(task: dict[str, Any]) -> dict[str, Any]:
    """Stage 1 by our predictor."""
    predictor = our_predictor(task, refine="none")
    mirrored = predictor.fold_maps.mirrored
    mirrored.network = timed = timed_module(mirrored.network)

    def predict() -> None:
        predictor.predict(task["images"]).save(Path(task["root"]) / "ours.nii.gz")

    return run_and_time(task, predict, timed, predictor.configuration_manager.patch_size)


def predict_stock(task: dict[str, Any]) -> dict[str, Any]:
    """A peer's network by nnU-Net's own predictor."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    resenc = RESENC_PLANS.get(task["kind"])
    folder = Path(task["root"]) / "preprocessed" / NAME
    plans = PlansManager(str(folder / f"{resenc or 'nnUNetCoMNeTPlans'}.json"))
    configuration = plans.get_configuration("3d_fullres")
    if resenc:
        kwargs, imports = configuration.network_arch_init_kwargs, configuration.network_arch_init_kwargs_req_import
        names = configuration.network_arch_class_name
        network = get_network_from_plans(names, kwargs, imports, len(CHANNELS), 3, deep_supervision=False)
    else:
        network = official_b(Path(task["source"]), len(CHANNELS), 3, deep_supervision=False)
    timed = timed_module(network)
    device = torch.device(task["device"])
    predictor = nnUNetPredictor(task["tile_step"], use_mirroring=task["mirroring"], device=device, allow_tqdm=False)
    description = json.loads((folder / "dataset.json").read_text())
    predictor.manual_initialization(timed, plans, configuration, [timed.state_dict()], description, "", (0, 1, 2))

    def predict() -> None:
        predictor.predict_from_files_sequential([task["images"]], [str(Path(task["root"]) / "stock" / "case")])

    (Path(task["root"]) / "stock").mkdir(exist_ok=True)
    return run_and_time(task, predict, timed, configuration.patch_size)


def refine(task: dict[str, Any]) -> dict[str, Any]:
    """The refiner alone, on a map made from the truth."""
    import torch

    predictor = our_predictor(task, refine="fold", steps=STEPS[0])
    data, _ = predictor.grids.preprocess([Path(image) for image in task["images"]])
    maps = predictor.fold_maps
    window = maps.window(data)
    logits = made_coarse_map(predictor, Path(task["root"])).to(window.device)
    assert logits.shape[1:] == data.shape[1:], "the case needs resampling: this benchmark is for 1 mm cases"
    seconds: dict[int, list[float]] = {steps: [] for steps in STEPS}
    with torch.inference_mode():
        maps.steps = 1
        refined = maps.refine("all", window, logits, (1.0,) * 3)  # a warm-up
        for maps.steps in STEPS * ROUNDS:
            start = time.perf_counter()
            refined = maps.refine("all", window, logits, (1.0,) * 3)
            synchronise(task["device"])
            seconds[maps.steps].append(time.perf_counter() - start)
    return {
        "seconds": [statistics.median(seconds[steps]) for steps in STEPS],
        "tiles": refined.tiles,
        "tiles_run": refined.tiles_run,
        "shape": data.shape[1:],
        "mirroring": task["mirroring"],
    }


def our_predictor(task: dict[str, Any], **options: Any) -> Any:
    from nnunetv2_comnet.inference.options import Options
    from nnunetv2_comnet.inference.predictor import CoMNeTPredictor

    wanted = Options(use_mirroring=task["mirroring"], tile_step_size=task["tile_step"], **options)
    return CoMNeTPredictor(next(Path(task["root"]).glob("results/*/*")), ["all"], options=wanted, device=task["device"])


def run_and_time(task: dict[str, Any], predict: Any, timed: Any, patch: Any) -> dict[str, Any]:
    """Seconds of the whole and of the network; on a GPU after one prediction that does not count."""
    for _ in range(1 if task["device"] == "cpu" else 2):
        timed.seconds, timed.tiles = 0.0, 0
        start = time.perf_counter()
        predict()
        synchronise(task["device"])
        whole = time.perf_counter() - start
    return {"whole": whole, "network": timed.seconds, "tiles": timed.tiles, "patch": list(patch)}


def timed_module(network: Any) -> Any:
    """The network, counting tiles and its seconds; it waits for the GPU before and after."""
    import torch

    class Timed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.seconds, self.tiles = network, 0.0, 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            synchronise(x.device.type)
            start = time.perf_counter()
            answer: torch.Tensor = self.network(x)
            synchronise(x.device.type)
            self.seconds, self.tiles = self.seconds + time.perf_counter() - start, self.tiles + len(x)
            return answer

    return Timed()


def peak_on(device: str) -> float:
    """The process's largest resident memory, or on a GPU what torch had taken there at most."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    return peak_gib()


if __name__ == "__main__":
    main()
