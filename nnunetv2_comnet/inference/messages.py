"""nnU-Net and the readers talk on standard output, at length: here it goes to the log, and errors become one line."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from nnunetv2_comnet.errors import ComnetError

log = logging.getLogger(__name__)

LONGEST = 300  # characters of somebody else's message that fit a line of ours


@contextlib.contextmanager
def nnunet_messages_to_log() -> Iterator[io.StringIO]:
    """Keeps standard output clean; what was said is yielded as it grows, and logged at debug level in the end."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield said
    finally:
        if said.getvalue().strip():
            log.debug("%s", said.getvalue().rstrip())


def one_line(error: BaseException | str) -> str:
    """A text or an exception on one line of bounded length, with the exception's type where its text needs it."""
    text = " ".join(str(error).split())
    if isinstance(error, BaseException) and not isinstance(error, ComnetError | SystemExit | OSError | RuntimeError):
        text = f"{type(error).__name__}: {text}"
    elif isinstance(error, BaseException):
        text = text or type(error).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
