"""The one family of errors that users see: a sentence that names the thing and the remedy, never a traceback."""


def printable(text: object) -> str:
    """Returns the text on one line: line breaks, control characters and broken bytes of file names as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def one_line(error: BaseException) -> str:
    """Returns an error's text on one line, blanks in place of its line breaks; the error's type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


class ComnetError(Exception):
    """A user's mistake or a defect of the user's data. The text is shown as it is: one line that can be printed."""

    def __init__(self, text: object = "") -> None:
        super().__init__(printable(text))


class DataError(ComnetError):
    """A file or folder of the user's is missing, unreadable or contradicts another."""


class ConfigurationError(ComnetError):
    """An option, a plans file or an environment variable has a value that cannot be used."""


class OutputError(DataError):
    """A file cannot be written: no room, no permission, a medium that fails. Nothing half-written is left."""
