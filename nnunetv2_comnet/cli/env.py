"""comnet env"""


def command() -> None:
    """To be written."""
