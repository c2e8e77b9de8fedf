"""Does the network wait for its data? Augmentation, waiting, and what the refiner's out-of-fold maps cost.

    python benchmarks/training_pipeline.py [--device cuda] [--workers 12] [--patch 112 160 128] [--steps 20] [--save]

Two generated full-size patients are converted, planned and preprocessed as a user's are, and the real trainer takes
steps with its real loader. Augmentation is measured at the full patch, in one thread, as a worker does it; waiting at
`--patch`: by default the full one on a GPU and a smaller one on a CPU. Target: less than 2 % of a step on a GPU with
12 workers, less than 0.5 s to augment a patch, an out-of-fold map no dearer than one stage 1 inference.
"""

import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import Table, comnet, interleaved, parser, report, sides, synchronise
from parts.patient import DATASET, LAYOUT, NAME, set_variables, untrained

from nnunetv2_comnet.workers import allowed_cores

FULL, SMALL = (112, 160, 128), (64, 80, 64)
WORKERS = 12
WARMUP = 2  # steps that do not count: kernels are chosen, workers fill their queues


def main() -> None:
    """Parses the command line, makes the data, measures, reports."""
    options = parser(__doc__, pairs=True)
    options.add_argument("--device", help="default: cuda where there is one")
    options.add_argument("--workers", type=int, help=f"default: {WORKERS}, or as many as there are cores")
    options.add_argument("--patch", type=int, nargs=3, metavar=("D", "H", "W"))
    options.add_argument("--steps", type=int, default=20, help="training steps that are timed")
    options.add_argument("--patches", type=int, default=50, help="patches that are augmented")
    chosen = options.parse_args()
    import torch

    device = torch.device(chosen.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    patch = tuple(chosen.patch or (FULL if device.type == "cuda" else SMALL))
    workers = min(WORKERS, allowed_cores()) if chosen.workers is None else chosen.workers
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        prepare(Path(folder), patch, workers)
        tables = [augmentation(Path(folder), chosen.patches)]
        trainer = ready_trainer(Path(folder), device)
        tables += [waiting(trainer, chosen.steps, workers), out_of_fold(trainer, chosen.pairs)]
    notes = [
        f"augmentation: {chosen.patches} patches of 112 x 160 x 128 voxels and 4 channels, one thread",
        f"steps: MedNeXt-B, patch {sides(patch)}, batch 1, device {device.type}, {workers} workers",
        "out-of-fold map: what the refiner's trainer asks of the frozen model; the peer is the network's own forward",
    ]
    report("training_pipeline", tables, notes, chosen.save)


def prepare(root: Path, patch: Sequence[int], workers: int) -> None:
    """Two generated patients, converted, planned and preprocessed below `root`; nnU-Net's variables."""
    from nnunetv2_comnet.doctor import extension_folder
    from nnunetv2_comnet.phantom.write import PhantomSet, write_patients

    set_variables(root)
    os.environ |= {"nnUNet_extTrainer": str(extension_folder()), "nnUNet_n_proc_DA": str(workers)}
    write_patients(PhantomSet(root / "source", LAYOUT, 2))
    comnet("convert", LAYOUT, root / "source", "-d", DATASET)
    comnet("plan", "-d", DATASET, "--preprocess", "--patch-size", *patch)


def ready_trainer(root: Path, device: Any) -> Any:
    """The trainer of stage 1, fold `all`, as it is before its first step."""
    from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT

    trainer = untrained(nnUNetTrainerCoMNeT, root, device)
    trainer.on_train_start()
    return trainer


def augmentation(root: Path, patches: int) -> Table:
    """CPU seconds a patch, transform by transform, on patches of a preprocessed case."""
    import numpy as np
    import torch
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    from nnunetv2_comnet.label_schemes import BRATS_123
    from nnunetv2_comnet.settings import Settings
    from nnunetv2_comnet.trainers.augmentation import rotation_range, training_transforms
    from nnunetv2_comnet.trainers.batches import seeded

    torch.set_num_threads(1)
    folder = str(root / "preprocessed" / NAME / "nnUNetCoMNeTPlans_3d_fullres")
    dataset_class = infer_dataset_class(folder)
    data, labels, *_ = dataset_class(folder).load_case(dataset_class.get_identifiers(folder)[0])
    settings = Settings()
    angles = rotation_range(settings)
    to_read = [int(side) for side in get_patch_size(FULL, angles, angles, angles, settings.scaling)]
    image, segmentation = (_padded(np.asarray(volume), to_read) for volume in (data, labels))
    scales = [[0.5**level] * 3 for level in range(5)]
    transforms = training_transforms(settings, FULL, scales, list(BRATS_123.regions.values()), None, [True] * 4)
    steps = transforms.transforms
    seconds: dict[str, list[float]] = {}
    whole = []
    for number in range(patches):
        sample = {"image": image.clone(), "segmentation": segmentation.clone()}
        begin = time.process_time()
        with seeded(0, number):
            for step in steps:
                start = time.process_time()
                sample = step(**sample)
                name = type(getattr(step, "transform", step)).__name__
                seconds.setdefault(name, []).append(time.process_time() - start)
        whole.append(time.process_time() - begin)
    torch.set_num_threads(allowed_cores())
    table = Table("Augmentation of a full patch, CPU seconds in one thread", ["transform", "mean", "largest"])
    for name, times in seconds.items():
        table.add(name, sum(times) / patches, max(times))
    table.add("all", statistics.mean(whole), max(whole))
    table.add("target", 0.5, None)
    return table


def _padded(volume: Any, size: Sequence[int]) -> Any:
    """A volume (C, D, H, W) as a tensor of that size, around its middle: cut, or with the volume's first value."""
    import numpy as np
    import torch
    from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd

    box = [[(have - want) // 2, (have - want) // 2 + want] for have, want in zip(volume.shape[1:], size, strict=True)]
    kind = np.int16 if volume.shape[0] == 1 else np.float32
    return torch.from_numpy(crop_and_pad_nd(volume, box, -1 if kind is np.int16 else 0).astype(kind))


def waiting(trainer: Any, steps: int, workers: int) -> Table:
    """Seconds that a training step waits for its batch, and seconds that it computes."""

    def now() -> float:
        synchronise(trainer.device.type)
        return time.perf_counter()

    trainer.network.train()
    waited, computed = [], []
    for _ in range(WARMUP + steps):
        start = now()
        batch = next(trainer.dataloader_train)
        got = now()
        trainer.train_step(batch)
        waited.append(got - start)
        computed.append(now() - got)
    waited, computed = waited[WARMUP:], computed[WARMUP:]
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        getattr(loader, "_finish", lambda: None)()  # ends the worker processes
    table = Table("A training step", ["part", "mean s", "median s", "share"])
    whole = sum(waited) + sum(computed)
    for part, times in (("waiting for the batch", waited), ("computing", computed)):
        table.add(part, statistics.mean(times), statistics.median(times), f"{100 * sum(times) / whole:.1f} %")
    return table


def out_of_fold(trainer: Any, pairs: int) -> Table:
    """The frozen model's map of a training patch against one forward pass of the network in inference mode."""
    import torch

    from nnunetv2_comnet.crossval import OutOfFold
    from nnunetv2_comnet.trainers.frozen_stage import FoldModels

    trainer.set_deep_supervision_enabled(False)
    network = trainer._bare_network().eval()
    models = FoldModels({0: network}, OutOfFold(served_by={"case": 0}, in_fold=[]))
    shape = (1, trainer.num_input_channels, *trainer.configuration_manager.patch_size)
    image = torch.randn(shape, device=trainer.device)

    def ours() -> None:
        with trainer._autocast():
            models.logits(image, ["case"])
        synchronise(trainer.device.type)

    def peer() -> None:
        with torch.inference_mode(), trainer._autocast():
            network(image)
        synchronise(trainer.device.type)

    found = interleaved(ours, peer, pairs)
    table = Table("The refiner's out-of-fold map", ["patch", "map, s", "one stage 1 inference, s", "ratio"])
    table.add(sides(trainer.configuration_manager.patch_size), found.ours, found.peer, found.ratio)
    return table


if __name__ == "__main__":
    main()
