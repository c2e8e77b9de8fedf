"""Rules for the stock command: nnUNetv2_apply_postprocessing takes a pickle of functions and keyword dicts.

It calls each function on a label map as its reader gives it (float32, the reader's axes), and hands over neither
spacing nor probabilities. So sizes go into the pickle in voxels, and rules on probabilities cannot.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.postprocessing.region_labels import RegionLabels
from nnunetv2_comnet.postprocessing.rule_list import Rules, parse_rule
from nnunetv2_comnet.postprocessing.volume import Volume

FILE = "postprocessing.pkl"
_PROTOCOL = 4  # read by every Python that nnU-Net runs on


def apply_rule(
    segmentation: npt.NDArray[Any], *, rule: Mapping[str, Any], regions: Mapping[str, Sequence[int]]
) -> npt.NDArray[Any]:
    """What the pickle names: one rule on a label map (Z, Y, X) of any type, which the result keeps.

    rule: parameters as in comnet_postprocessing.json. regions: name -> labels, in dataset.json's order.
    """
    labels = np.rint(segmentation).astype(np.uint16)
    after = parse_rule(rule).applied(Volume(labels, RegionLabels(regions)))
    return after.labels.astype(segmentation.dtype)


def stock_rules(rules: Rules, voxel_mm3: float | None) -> Rules:
    """The rules with all sizes in voxels of `voxel_mm3` (None: voxels differ between cases).

    Raises `ConfigurationError` that says why the stock command cannot apply them.
    """
    for rule in rules:
        if rule.uses_probabilities:
            raise ConfigurationError(f"'{rule.describe()}' needs probabilities, which the stock command does not have")
        if rule.needs_spacing and voxel_mm3 is None:
            raise ConfigurationError(f"'{rule.describe()}' needs one voxel size, and the cases' voxels differ")
    return tuple(rule if voxel_mm3 is None else rule.in_voxels(voxel_mm3) for rule in rules)


def write_pickle(path: Path, rules: Rules, regions: Mapping[str, Sequence[int]], voxel_mm3: float | None) -> None:
    """nnU-Net's postprocessing.pkl: ([function, ...], [keywords, ...]). Raises as `stock_rules` does."""
    plain = {name: list(labels) for name, labels in regions.items()}
    keywords = [{"rule": rule.as_json(), "regions": plain} for rule in stock_rules(rules, voxel_mm3)]
    with written_whole(path) as temporary, open(temporary, "wb") as stream:
        pickle.dump(([apply_rule] * len(keywords), keywords), stream, protocol=_PROTOCOL)
