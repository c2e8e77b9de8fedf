"""One progress bar for all that takes more than a moment; silent where standard error is not a terminal."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """What library code takes to show how far an iteration is; `silent` is the default, commands pass `bar`."""

    def __call__(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterable[Item]: ...


def bar(items: Iterable[Item], title: str, total: int | None = None) -> Iterable[Item]:
    """Shows a bar on standard error while the items are iterated over.

    Args:
        items: What is iterated over; yielded unchanged.
        title: Words before the bar.
        total: Number of items, where `items` has no length.
    """
    from tqdm import tqdm

    shown: Iterable[Item] = tqdm(items, desc=title, total=total, disable=None, leave=False)
    return shown


def silent(items: Iterable[Item], title: str, total: int | None = None) -> Iterable[Item]:
    """Returns the items as they are."""
    return items
