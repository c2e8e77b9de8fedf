"""Plan: nnU-Net's own planner, restricted to 3d_fullres and made to write `nnUNetCoMNeTPlans` with a `comnet` section.

Planning touches nnU-Net here alone. `apply_settings` prepares the plans that a trainer is started with.
"""

import contextlib
import io
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_comnet.configurations import SIDE_DIVISOR, Axes
from nnunetv2_comnet.crossval import SPLITS, truth_folder
from nnunetv2_comnet.dataset_json import parse_dataset_json
from nnunetv2_comnet.errors import ConfigurationError, DataError, one_line
from nnunetv2_comnet.files import read_json, remove_leftovers, write_json
from nnunetv2_comnet.raw_dataset import first_unsound, require_plannable
from nnunetv2_comnet.settings import Settings, fit_patch, make_settings, parse_settings

PLANS_NAME = "nnUNetCoMNeTPlans"
CONFIGURATION = "3d_fullres"
SECTION = "comnet"
INTENSITY_SAMPLES = 10**6  # of every channel, over all cases
MISSING_CHANNEL = 0.0  # fills a preprocessed channel without image: the value outside the brain, within it the mean
_SHARED = ("size", "kernel_size", "base_channels", "grn")  # stand both in the network's entry and in the section

log = logging.getLogger(__name__)


class FingerprintExtractor(DatasetFingerprintExtractor):
    """nnU-Net's, with fewer samples of the intensities.

    Their statistics normalise CT alone, which our plans never do; nnU-Net's 1e8 voxels a channel take 5 GB and most of
    the time, however small the images.
    """

    def __init__(self, dataset_name_or_id: str | int, num_processes: int = 8, verbose: bool = False) -> None:
        super().__init__(dataset_name_or_id, num_processes, verbose)
        self.num_foreground_voxels_for_intensitystats = INTENSITY_SAMPLES


class CoMNeTPlanner(ExperimentPlanner):
    """Writes `nnUNetCoMNeTPlans.json`: 3d_fullres only, masked z-score on all channels, patch (S-I, A-P, L-R)."""

    def __init__(self, dataset: int | str, settings: Settings, plans_name: str = PLANS_NAME) -> None:
        # Axes are not transposed: the patch is given by anatomical axis and must stay that way.
        super().__init__(dataset, plans_name=plans_name, suppress_transpose=True)
        self.settings = settings
        if settings.modality_dropout and len(parse_dataset_json(self.dataset_json).channels) < 2:
            raise ConfigurationError("modality dropout needs two images a patient or more; this dataset has one")
        self.lowres_creation_threshold = 0.0  # no low resolution configuration, whatever the images' size

    def determine_normalization_scheme_and_whether_mask_is_used_for_norm(self) -> tuple[list[str], list[bool]]:
        """Returns z-score inside the nonzero mask for every channel, always: the paper's normalisation."""
        channels = len(parse_dataset_json(self.dataset_json).channels)
        return ["ZScoreNormalization"] * channels, [True] * channels

    def get_plans_for_configuration(
        self,
        spacing: Any,
        median_shape: Any,
        data_identifier: str,
        approximate_n_voxels_dataset: float,
        _cache: dict,
    ) -> dict[str, Any]:
        """Makes a 3D configuration; the 2D one that nnU-Net asks for too stays empty, and `save_plans` drops it."""
        if len(spacing) == 2:
            return {}
        schemes, masks = self.determine_normalization_scheme_and_whether_mask_is_used_for_norm()
        data_fn, data_kwargs, seg_fn, seg_kwargs = self.determine_resampling()
        probability_fn, probability_kwargs = self.determine_segmentation_softmax_export_fn()
        return {
            "data_identifier": data_identifier,
            "preprocessor_name": self.preprocessor_name,
            "batch_size": self.settings.batch_size,
            "patch_size": list(fit_patch(self.settings.patch_size, _axes(median_shape))),
            "median_image_size_in_voxels": median_shape,
            "spacing": spacing,
            "normalization_schemes": schemes,
            "use_mask_for_norm": masks,
            "resampling_fn_data": data_fn.__name__,
            "resampling_fn_seg": seg_fn.__name__,
            "resampling_fn_data_kwargs": data_kwargs,
            "resampling_fn_seg_kwargs": seg_kwargs,
            "resampling_fn_probabilities": probability_fn.__name__,
            "resampling_fn_probabilities_kwargs": probability_kwargs,
            "architecture": self.settings.architecture(),
        }

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Keeps 3d_fullres, adds the `comnet` section; nnU-Net's own method would write the file in place."""
        target = Path(nnUNet_preprocessed, self.dataset_name, f"{self.plans_identifier}.json")
        users = read_json(target)["configurations"] if target.is_file() else {}  # as nnU-Net: what a user added stays
        plans["configurations"] = {**users, CONFIGURATION: plans["configurations"][CONFIGURATION]}
        plans[SECTION] = self.settings.model_dump(mode="json")
        recursive_fix_for_json_export(plans)
        write_json(target, plans)


def write_plans(dataset: int, settings: Settings, plans_name: str = PLANS_NAME) -> dict[str, Any]:
    """Plans a dataset whose fingerprint exists. Returns the plans that were written to nnUNet_preprocessed."""
    with _nnunet_messages_to_log():
        plans: dict[str, Any] = CoMNeTPlanner(dataset, settings, plans_name).plan_experiment()
    return plans


def prepare_dataset(dataset: int, jobs: int) -> str:
    """Extracts the fingerprint where it is missing or cut; returns the dataset's name. Refuses an unknown id."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    try:
        name = str(maybe_convert_to_dataset_name(dataset))
    except RuntimeError as error:
        if several := sorted(path.name for path in Path(str(nnUNet_raw)).glob(f"Dataset{dataset:03d}_*")):
            raise ConfigurationError(
                f"nnUNet_raw holds more than one dataset {dataset:03d}: {', '.join(several)}; keep one of that id"
            ) from error
        raise ConfigurationError(
            f"there is no dataset {dataset:03d} in nnUNet_raw; convert one first (comnet convert --help)"
        ) from error
    raw, folder = Path(nnUNet_raw, name), Path(nnUNet_preprocessed, name)
    require_plannable(raw)
    remove_leftovers(folder)
    for file in ("dataset_fingerprint.json", SPLITS):  # nnU-Net writes both in place, never twice
        _remove_if_cut(folder / file)
    if (splits := raw / SPLITS).is_file() and not (folder / splits.name).exists():
        write_json(folder / splits.name, read_json(splits))
    try:
        with _nnunet_messages_to_log():
            extract_fingerprint_dataset(
                dataset, FingerprintExtractor, num_processes=jobs, clean=False, show_progress_bar=sys.stderr.isatty()
            )
    except Exception as error:  # a worker hands on whatever a damaged file made it raise
        problem = f"the fingerprint of {raw} cannot be extracted: {one_line(error)}"
        raise DataError(first_unsound(raw) or problem) from error
    return name


def _remove_if_cut(path: Path) -> None:
    """Deletes a file that does not end as JSON must: a killed run, or a full disk, left it."""
    if path.is_file() and not path.read_text(encoding="utf-8").rstrip().endswith(("}", "]")):
        path.unlink()


def preprocess(dataset: int, jobs: int, plans_name: str = PLANS_NAME) -> None:
    """Runs nnU-Net's own preprocessing of 3d_fullres, as `nnUNetv2_preprocess` does."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    # nnU-Net copies no mask over one that looks newer, and one whose copying was killed does.
    folder = Path(nnUNet_preprocessed, str(maybe_convert_to_dataset_name(dataset)))
    shutil.rmtree(truth_folder(folder), ignore_errors=True)
    with _nnunet_messages_to_log():
        preprocess_dataset(dataset, plans_name, (CONFIGURATION,), [jobs], show_progress_bar=sys.stderr.isatty())


def apply_settings(plans: dict[str, Any], configuration: str) -> tuple[Settings, str]:
    """Changes `plans`, in place, to what the training will use. Returns the settings and a line for the log.

    Our own plans are only checked. Stock plans get the `paper` preset: patch, batch size and network change;
    what preprocessing already did to the data (spacing, normalisation, data identifier) does not.
    """
    try:
        return _applied(plans, configuration)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigurationError(
            f"the plans are damaged ({type(error).__name__}: {one_line(error)}): write them again with `comnet plan`"
        ) from error


def _applied(plans: dict[str, Any], configuration: str) -> tuple[Settings, str]:
    entry = plans.get("configurations", {}).get(configuration)
    if entry is None:
        available = ", ".join(plans.get("configurations", {})) or "none"
        raise ConfigurationError(f"the plans have no configuration '{configuration}'; there are: {available}")
    resolved = PlansManager(plans).get_configuration(configuration)
    if len(resolved.patch_size) != 3 or resolved.previous_stage_name is not None:
        raise ConfigurationError(f"configuration '{configuration}' is not a plain 3D one; train 3d_fullres")
    if SECTION in plans:
        settings = parse_settings(plans[SECTION], f"section '{SECTION}' of the plans")
        if entry["architecture"]["network_class_name"] != settings.architecture()["network_class_name"]:
            raise ConfigurationError(
                f"the plans name network {entry['architecture']['network_class_name']}, their '{SECTION}' section "
                "another: write them again with `comnet plan`"
            )
        _require_same(entry, settings)
        return settings, f"settings: section '{SECTION}' of {plans['plans_name']} (preset '{settings.preset}')"
    settings = make_settings("paper")
    axes = plans["transpose_forward"]
    patch = _axes([settings.patch_size[axis] for axis in axes])
    entry["patch_size"] = list(fit_patch(patch, _axes(resolved.median_image_size_in_voxels)))
    entry["batch_size"] = settings.batch_size
    entry["architecture"] = settings.architecture()
    plans[SECTION] = settings.model_dump(mode="json")
    return settings, (
        f"settings: the stock plans {plans['plans_name']} hold none, so the 'paper' preset was applied: patch "
        f"{entry['patch_size']}, batch size {entry['batch_size']}, MedNeXt-{settings.network_size}"
    )


def _require_same(entry: dict[str, Any], settings: Settings) -> None:
    """Raises `ConfigurationError` where a configuration differs from the settings that it was written from."""
    theirs, ours = entry["architecture"]["arch_kwargs"], settings.architecture()["arch_kwargs"]
    different = [name for name in _SHARED if name in theirs and theirs[name] != ours[name]]
    if different:
        raise ConfigurationError(
            f"the plans' network and their '{SECTION}' section differ in {', '.join(different)}: write them again with "
            "`comnet plan`"
        )
    if any(side < 2 * SIDE_DIVISOR or side % SIDE_DIVISOR for side in entry["patch_size"]):
        raise ConfigurationError(
            f"patch_size {entry['patch_size']} of the plans' configuration: every side must be a multiple of "
            f"{SIDE_DIVISOR}, at least {2 * SIDE_DIVISOR}"
        )


def _axes(shape: Any) -> Axes:
    z, y, x = (int(np.ceil(side)) for side in shape)
    return z, y, x


@contextlib.contextmanager
def _nnunet_messages_to_log() -> Iterator[None]:
    """Sends what nnU-Net prints to the log, at debug level; our command prints a summary."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        log.debug("%s", said.getvalue())
