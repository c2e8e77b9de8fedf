"""Made the stored models: tiny, of seeded weights without training, by the code of commit fa1c03a.

Run with that commit's own environment, from anywhere: `python tests/stored_models/make.py FOLDER`. It is a record: the
settings' names are those of then, so present code refuses some of its calls.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SETTINGS = ["--preset", "demo", "--base-channels", "4", "--patch-size", "32", "32", "32", "--seed", "5"]
REFINER = {
    "channels": 4,
    "autoencoder_channels": 4,
    "codebook_size": 16,
    "latent_channels": 4,
    "patch_size": [16, 32, 16],
    "parameterisation": "v",
    "training_steps": 100,
    "sampling_steps": 4,
    "average_decay": 0.97,
}
NAMES = ["whole tumor", "tumor core", "enhancing tumor"]
SIDES = (26, 28, 24)  # x, y, z


def write_images(folder: Path, cases: list[str], seed: int, spacing_mm: float) -> None:
    """Four channels of nested balls in noise, zero outside the brain; coarse values, so that the files are small."""
    import nibabel
    import numpy as np

    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SIDES), indexing="ij"), -1)
    brain = np.linalg.norm((grid - [13, 14, 12]) / [12, 13, 11], axis=-1) < 1
    radius = np.linalg.norm(grid - [12, 13, 11], axis=-1)
    for case in cases:
        for channel, reach in enumerate((0, 4, 8, 6)):
            image = (40 + rng.normal(0, 6, SIDES).round() + 30 * (radius < reach)) * brain
            path = folder / f"{case}_{channel:04d}.nii.gz"
            affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
            nibabel.save(nibabel.Nifti1Image(image.astype(np.uint8), affine), path)
        if folder.name == "imagesTr":
            mask = np.select([radius < 4, radius < 6, radius < 8], [3, 1, 2], 0) * brain
            labels = folder.parent / "labelsTr"
            labels.mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), labels / f"{case}.nii.gz")


def plan(work: Path, *words: str) -> dict:
    """The plans that this `comnet plan` writes."""
    subprocess.run([str(Path(sys.executable).parent / "comnet"), "plan", "-d", "501", *words], check=True)
    return json.loads((work / "preprocessed" / "Dataset501_Blobs" / "nnUNetCoMNeTPlans.json").read_text())


def save(trainer: object, folder: Path) -> None:
    """fold_0/checkpoint_final.pth without what only a resumed training needs, and the two JSON files beside it."""
    import torch

    (folder / "fold_0").mkdir(parents=True)
    path = folder / "fold_0" / "checkpoint_final.pth"
    trainer.save_checkpoint(str(path))
    checkpoint = torch.load(path, weights_only=True)
    checkpoint.update(optimizer_state=None, grad_scaler_state=None, logging={})
    torch.save(checkpoint, path)
    (folder / "plans.json").write_text(json.dumps(trainer.plans_manager.plans, indent=1))
    (folder / "dataset.json").write_text(json.dumps(trainer.dataset_json, indent=1))


def main(target: Path) -> None:
    work = Path(tempfile.mkdtemp())
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir()
    import numpy as np
    import torch

    torch.set_num_threads(1)
    raw = work / "raw" / "Dataset501_Blobs"
    write_images(raw / "imagesTr", ["BLOB0", "BLOB1"], 0, 2.0)
    description = {
        "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
        "regions_class_order": [2, 1, 3],
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIOWithReorient",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    paper = plan(work)
    plans = plan(work, *SETTINGS, "--preprocess")
    plans["comnet"]["refiner"] |= REFINER

    from nnunetv2_comnet.files import sha256
    from nnunetv2_comnet.inference.options import Options
    from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
    from nnunetv2_comnet.trainers.corrdiff import nnUNetTrainerCoMNeTCorrDiff
    from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT

    plans["continue_training"] = False
    trainers = [
        kind(json.loads(json.dumps(plans)), "3d_fullres", 0, description, torch.device("cpu"))
        for kind in (nnUNetTrainerCoMNeT, nnUNetTrainerCoMNeTCorrDiff)
    ]
    for trainer in trainers:
        trainer.initialize()
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the axes that prediction mirrors
    stage_1, stage_2 = trainers
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        head = stage_1.network.out_0.conv_out  # untrained it answers about the same everywhere
        drawn = torch.randn(head.weight.shape, generator=generator)
        head.weight.copy_(5 * (drawn - drawn.mean(dim=1, keepdim=True)))
        head.bias.copy_(torch.tensor([4.0, 0.0, -1.0]))
        refined = stage_2.refined
        refined.coarse.load_state_dict(stage_1.network.state_dict())
        for parameter in refined.refiner.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
        refined.refiner.quantizer.started.fill_(True)
        everywhere = torch.ones(1, 4, 4, 4, dtype=torch.bool)
        refined.refiner.update_moments(torch.randn(1, 4, 4, 4, 4, generator=generator), everywhere)
        refined.average.load_state_dict(refined.refiner.state_dict())
        for parameter in refined.average.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)

    shutil.rmtree(target / "stage_1", ignore_errors=True)
    shutil.rmtree(target / "corrdiff", ignore_errors=True)
    save(stage_1, target / "stage_1")
    save(stage_2, target / "corrdiff")
    (target / "paper_plans.json").write_text(json.dumps(paper, indent=1))
    calibration = {
        "format": 1,
        "strength": dict(zip(NAMES, (1.0, 0.5, 0.75), strict=True)),
        "checkpoints": {"fold_0/checkpoint_final.pth": sha256(target / "corrdiff" / "fold_0" / "checkpoint_final.pth")},
        "evidence": {},
    }
    (target / "corrdiff" / "calibration.json").write_text(json.dumps(calibration, indent=1))
    shutil.rmtree(target / "images", ignore_errors=True)
    write_images(target / "images", ["PATIENT"], 7, 2.2)

    files = sorted((target / "images").glob("*.nii.gz"))
    expected: dict[str, np.ndarray] = {}
    for model in ("stage_1", "corrdiff"):
        found = CoMNeTPredictor(target / model, device="cpu").predict(files)
        expected[f"{model}_probabilities"], expected[f"{model}_mask"] = found.probabilities, found.label_map
        stock = CoMNeTPredictor(target / model, device="cpu", options=Options(average="logits")).predict(files)
        expected[f"{model}_stock_mask"] = stock.label_map
        out = work / model
        words = ["predict", "-i", str(target / "images"), "-o", str(out), "-m", str(target / model), "-device", "cpu"]
        subprocess.run([str(Path(sys.executable).parent / "comnet"), *words], check=True)
        import SimpleITK

        written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out / "PATIENT.nii.gz")))
        expected[f"{model}_written_mask"] = written  # on the patient's own axes
    for kind in ("mask", "stock_mask"):
        assert (expected[f"stage_1_{kind}"] != expected[f"corrdiff_{kind}"]).sum() > 900, "the refiner does too little"
    np.savez_compressed(target / "expected.npz", **expected)
    with tarfile.open(target / "checkpoints.tar.xz", "w:xz") as archive:  # xz sees that both hold the same stage 1
        for path in sorted(target.glob("*/fold_0/checkpoint_final.pth")):
            archive.add(path, path.relative_to(target))
            path.unlink()
            path.parent.rmdir()
    shutil.rmtree(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
