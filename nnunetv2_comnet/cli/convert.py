"""comnet convert"""


def command() -> None:
    """To be written."""
