"""What the refiner costs in `comnet predict`: seconds and peak memory on one full-size case, one fold.

    python benchmarks/predict_cost.py CASE_FOLDER [--mirroring] [--device cpu]

CASE_FOLDER: one case as BraTS 2021 ships it. The model is the paper preset's (MedNeXt-B, patch 112 x 160 x 128) with
random weights: time and memory do not depend on what was learned. Only where the refiner must look does, so the coarse
map that it gets is made from the truth: a sigmoid of the distance to each region's boundary. The stages of one run are
timed apart, so that with and without the refiner share the same stage 1. Nothing is downloaded or left behind.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SOFTNESS_VOXELS = 1.5  # of the made coarse map: its logits are the distance to the boundary over this


def main() -> None:
    """Parses the command line, builds the model, predicts, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--mirroring", action="store_true", help="average stage 1 over the eight mirrored images")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.case.resolve(), options.mirroring, options.device)


def measure(root: Path, case: Path, mirroring: bool, device: str) -> None:
    """Prepares everything below `root` and prints what a prediction costs."""
    model, images = prepare(root, case, device)
    from nnunetv2_comnet.inference.options import Options
    from nnunetv2_comnet.inference.predictor import CoMNeTPredictor

    predictor: Any = CoMNeTPredictor(
        model, ["all"], options=Options(refine="fold", use_mirroring=mirroring), device=device
    )
    seconds: dict[str, float] = {}
    peak: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            seconds[name] = seconds.get(name, 0) + time.perf_counter() - start
            peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            return result

        return call

    truth_map = made_coarse_map(predictor, case)
    stage_1 = timed("stage 1", predictor._coarse_logits)
    predictor._coarse_logits = lambda data: stage_1(data) * 0 + truth_map(data)
    predictor._refine = timed("refiner", predictor._refine)
    start = time.perf_counter()
    predictor.predict(images)
    whole = time.perf_counter() - start
    without = whole - seconds["refiner"]
    print(f"mirroring {'on' if mirroring else 'off'}, {device}")
    print(f"stage 1             {seconds['stage 1']:8.1f} s   peak memory {peak['stage 1']:5.2f} GiB")
    print(f"refiner             {seconds['refiner']:8.1f} s   peak memory {peak['refiner']:5.2f} GiB")
    print(f"whole, without it   {without:8.1f} s")
    print(f"whole, with it      {whole:8.1f} s   {whole / without:.2f} times")


def prepare(root: Path, case: Path, device: str) -> tuple[Path, list[Path]]:
    """Converts and plans the case, saves an untrained refined model as fold `all`."""
    from nnunetv2_comnet.doctor import extension_folder

    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir()
        os.environ[f"nnUNet_{name}"] = str(root / name)
    os.environ["nnUNet_extTrainer"] = str(extension_folder())
    (root / "source").mkdir()
    (root / "source" / case.name).symlink_to(case)
    comnet = str(Path(sys.executable).parent / "comnet")
    for words in (["convert", "brats2021", str(root / "source"), "-d", "601"], ["plan", "-d", "601"]):
        subprocess.run([comnet, *words], check=True, stdout=subprocess.DEVNULL)
    import json

    import torch

    from nnunetv2_comnet.trainers.corrdiff import nnUNetTrainerCoMNeTCorrDiff

    preprocessed = root / "preprocessed" / "Dataset601_BraTS2021"
    plans = json.loads((preprocessed / "nnUNetCoMNeTPlans.json").read_text())
    data = preprocessed / "nnUNetCoMNeTPlans_3d_fullres"
    data.mkdir()  # not preprocessed: nothing is trained, but the trainer looks which kind of files there are
    (data / "none.b2nd").touch()
    dataset_json = json.loads((root / "raw" / "Dataset601_BraTS2021" / "dataset.json").read_text())
    trainer = nnUNetTrainerCoMNeTCorrDiff(
        {**plans, "continue_training": False}, "3d_fullres", "all", dataset_json, torch.device(device)
    )
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the axes that prediction mirrors
    model = Path(trainer.output_folder_base)
    trainer.save_checkpoint(str(model / "fold_all" / "checkpoint_final.pth"))
    (model / "plans.json").write_text(json.dumps(trainer.plans_manager.plans))
    (model / "dataset.json").write_text(json.dumps(dataset_json))
    images = root / "raw" / "Dataset601_BraTS2021" / "imagesTr"
    return model, [images / f"{case.name}_{channel:04d}.nii.gz" for channel in range(4)]


def made_coarse_map(predictor: Any, case: Path) -> Any:
    """A function of the preprocessed image: logits (R, D, H, W) like a trained network's, from the case's truth."""
    import nibabel
    import numpy as np
    import torch
    from scipy.ndimage import distance_transform_edt

    from nnunetv2_comnet.regions import BRATS_124

    image = nibabel.as_closest_canonical(nibabel.load(next(case.glob("*_seg.nii.gz"))))
    labels = BRATS_124.canonical(np.asarray(image.dataobj).astype(np.uint8)).transpose(2, 1, 0)
    others = [nibabel.as_closest_canonical(nibabel.load(p)) for p in case.glob("*.nii.gz") if "_seg" not in p.name]
    brain = np.any([np.asarray(other.dataobj) != 0 for other in others], axis=0).transpose(2, 1, 0)
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(brain))
    maps = []
    for members in predictor.regions.values():
        mask = np.isin(labels[box], members)
        maps.append((distance_transform_edt(mask) - distance_transform_edt(~mask)) / SOFTNESS_VOXELS)
    logits = torch.from_numpy(np.stack(maps)).half()

    def coarse(data: torch.Tensor) -> torch.Tensor:
        assert data.shape[1:] == logits.shape[1:], "the case needs resampling: this benchmark is for 1 mm cases"
        return logits

    return coarse


if __name__ == "__main__":
    main()
