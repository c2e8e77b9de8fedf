"""comnet plan"""


def command() -> None:
    """To be written."""
