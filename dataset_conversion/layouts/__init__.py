"""The registry of layouts: one small declaration per dataset, and `custom` from the user's YAML file."""

from pathlib import Path

from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout, MaskSource
from nnunetv2_comnet.dataset_conversion.layouts.brats import BRATS_LAYOUTS
from nnunetv2_comnet.dataset_conversion.layouts.collections import MSD_TASK01_LAYOUT, UCSF_PDGM, UPENN_GBM
from nnunetv2_comnet.dataset_conversion.layouts.custom import load_custom_layout
from nnunetv2_comnet.dataset_conversion.layouts.utsw import UTSW
from nnunetv2_comnet.errors import ConfigurationError

__all__ = ["CHANNELS", "LAYOUTS", "Layout", "MaskSource", "find_layout"]

LAYOUTS = {layout.name: layout for layout in (UTSW, *BRATS_LAYOUTS, UCSF_PDGM, UPENN_GBM, MSD_TASK01_LAYOUT)}


def find_layout(name: str, layout_file: Path | None = None) -> Layout:
    """Returns the layout of that name; `custom`, or the path of a YAML file in place of a name, reads the user's own.

    Raises `ConfigurationError`, with the valid names, for any other name.
    """
    if name == "custom":
        if layout_file is None:
            raise ConfigurationError(
                "layout custom needs --layout-file FILE.yaml; `comnet convert --example` prints one to start from"
            )
        return load_custom_layout(layout_file)
    if layout_file is not None:
        raise ConfigurationError(f"--layout-file goes with layout custom, not with '{name}'")
    if name.endswith((".yaml", ".yml")):
        return load_custom_layout(Path(name))
    if name not in LAYOUTS:
        raise ConfigurationError(f"unknown layout '{name}'; the layouts are: {', '.join([*LAYOUTS, 'custom'])}")
    return LAYOUTS[name]
