"""A user's mistake met inside a stock nnU-Net command ends it with one line and exit code 1, without a traceback."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

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
