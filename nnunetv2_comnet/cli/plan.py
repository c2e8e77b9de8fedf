"""comnet plan: writes nnUNetCoMNeTPlans.json for a converted dataset; every hyper-parameter is a flag."""

import inspect
import os
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel

from nnunetv2_comnet.cli.common import dataset_id, require_variables
from nnunetv2_comnet.configurations import SegResNetConfig, old_names
from nnunetv2_comnet.settings import (
    PRESETS,
    REFINER_PREFIX,
    SEGRESNET_PREFIX,
    RefinerSettings,
    Settings,
    make_settings,
)


def _plan(
    dataset: Annotated[int, typer.Option("-d", "--dataset", callback=dataset_id, help="Dataset id, e.g. 501.")],
    preset: Annotated[str, typer.Option(help=f"Where the values start from: {', '.join(PRESETS)}.")] = "paper",
    preprocess: Annotated[bool, typer.Option(help="Preprocess 3d_fullres as well (nnUNetv2_preprocess).")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes for fingerprint and preprocessing.")] = 2,
    **overrides: Any,
) -> None:
    """Plan a dataset: nnU-Net's planner with CoMNeT's patch, network, normalisation and hyper-parameters.

    Extracts the fingerprint where `nnUNetv2_plan_and_preprocess` or `nnUNetv2_extract_fingerprint` has not.
    """
    settings = make_settings(preset, **{name: value for name, value in overrides.items() if value is not None})
    require_variables("nnUNet_raw", "nnUNet_preprocessed")
    from nnunetv2_comnet import plans

    name = plans.prepare_dataset(dataset, jobs)
    written = plans.write_plans(dataset, settings)
    configuration = written["configurations"][plans.CONFIGURATION]
    target = os.path.join(os.environ["nnUNet_preprocessed"], name, plans.PLANS_NAME + ".json")
    typer.echo(
        f"wrote {target}\n"
        f"  patch {configuration['patch_size']} voxels of {[round(float(s), 3) for s in configuration['spacing']]} mm"
        f" (S-I, A-P, L-R), asked for {list(settings.patch_size)}\n"
        f"  MedNeXt-{settings.network_size}, kernel {settings.kernel_size}, GRN {'on' if settings.grn else 'off'}; "
        f"effective batch {settings.effective_batch_size}, {settings.steps_per_epoch} steps an epoch, at most "
        f"{settings.max_epochs} epochs"
    )
    if preprocess:
        plans.preprocess(dataset, jobs)
        typer.echo(f"preprocessed {plans.CONFIGURATION}")
    else:
        typer.echo(f"next: nnUNetv2_preprocess -d {dataset} -plans_name {plans.PLANS_NAME} -c {plans.CONFIGURATION}")
    typer.echo(f"then: nnUNetv2_train {dataset} 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p {plans.PLANS_NAME}")


def _flag_type(annotation: Any) -> Any:
    """Returns the type that the command line parses; pydantic then checks the value."""
    if get_origin(annotation) is tuple:
        return tuple[get_args(annotation)]  # type: ignore[misc]
    members = [member for member in get_args(annotation) if member is not type(None)]
    if members and isinstance(members[0], type):  # "float | None"
        return members[0]
    return type(members[0]) if members else annotation


def _flags(model: type[BaseModel], leave_out: set[str], prefix: str, panel: str) -> list[inspect.Parameter]:
    """Makes a keyword per field of a settings model, and a hidden one per older name of a field."""
    names = {**{name: name for name in model.model_fields if name not in leave_out}, **old_names(model)}
    return [
        inspect.Parameter(
            prefix + spelling,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                _flag_type(model.model_fields[name].annotation) | None,
                typer.Option(
                    help=f"{model.model_fields[name].description} [{model.model_fields[name].default}]",
                    rich_help_panel=panel,
                    hidden=spelling != name,
                ),
            ],
        )
        for spelling, name in names.items()
    ]


def _with_flag_per_setting() -> inspect.Signature:
    """Makes `_plan`'s signature with a keyword per field of the settings, so that no flag can be forgotten."""
    fixed = [p for p in inspect.signature(_plan).parameters.values() if p.kind is not p.VAR_KEYWORD]
    # gpu_kernels: plans files may name it, but nobody has timed those kernels.
    flags = _flags(
        Settings, {"preset", "gpu_kernels", "refiner", "segresnet"}, "", "Hyper-parameters [value of preset 'paper']"
    )
    # The strengths are measured, by `comnet calibrate`, not planned.
    flags += _flags(RefinerSettings, {"strength"}, REFINER_PREFIX, "Stage 2, the refiner [value of preset 'paper']")
    flags += _flags(SegResNetConfig, set(), SEGRESNET_PREFIX, "The baseline, SegResNet [value of preset 'paper']")
    return inspect.Signature([*fixed, *flags])


def command(**options: Any) -> None:
    _plan(**options)


command.__doc__ = _plan.__doc__
command.__signature__ = _with_flag_per_setting()  # type: ignore[attr-defined]
command.__annotations__ = {p.name: p.annotation for p in command.__signature__.parameters.values()}  # type: ignore[attr-defined]
