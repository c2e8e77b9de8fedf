"""comnet phantom"""


def command() -> None:
    """To be written."""
