"""Maps the top-level folder `dataset_conversion/` into the package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

CONVERSION = "nnunetv2_comnet.dataset_conversion"

setup(
    packages=[
        *find_packages(include=["nnunetv2_comnet", "nnunetv2_comnet.*"]),
        CONVERSION,
        *(f"{CONVERSION}.{name}" for name in find_packages("dataset_conversion")),
    ],
    package_dir={CONVERSION: "dataset_conversion"},
)
