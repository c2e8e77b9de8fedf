"""A user's mistake met inside a stock nnU-Net command ends it with one line and exit code 1, without a traceback."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from nnunetv2_comnet.errors import ComnetError

Function = TypeVar("Function", bound=Callable[..., Any])


def one_line_errors(function: Function) -> Function:
    """Turns a `ComnetError` into `SystemExit`, which Python prints as it is."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ComnetError as error:
            raise SystemExit(f"comnet: error: {error}") from error

    return wrapped  # type: ignore[return-value]


class AnotherNetworksCheckpoint(SystemExit, RuntimeError):  # noqa: N818 - ends stock prediction, hence SystemExit
    """Weights that do not fit: one line where nobody catches it, a RuntimeError for code that does."""


def refuse_other_weights(network: nn.Module) -> None:
    """Makes `network.load_state_dict` end a stock command in one line when the weights are another network's."""
    network._register_load_state_dict_pre_hook(_compare, with_module=True)


def _compare(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    difference = weights_difference({prefix + name: value for name, value in module.state_dict().items()}, state_dict)
    if difference:
        raise AnotherNetworksCheckpoint(
            f"comnet: error: the checkpoint is another network's: {difference} in the plans' network; use the "
            "plans.json that was saved with the checkpoint"
        )


def weights_difference(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Names the first weight whose shape differs, e.g. "'a.b' is (3, 4) in it, absent"; "" where none does.

    wanted, given: tensors by name, of the network and of the checkpoint.
    """
    network = {name: tuple(value.shape) for name, value in wanted.items()}
    found = {name: tuple(value.shape) for name, value in given.items()}
    if network == found:
        return ""
    name = min(key for key in network.keys() | found.keys() if network.get(key) != found.get(key))
    return f"'{name}' is {found.get(name, 'absent')} in it, {network.get(name, 'absent')}"
