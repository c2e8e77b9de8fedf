"""The one family of errors that users see: a sentence that names the thing and the mend, never a traceback."""


class ComnetError(Exception):
    """A user's mistake or a defect of the user's data. The text is shown as it is, on one line."""


class DataError(ComnetError):
    """A file or folder of the user's is missing, unreadable or contradicts another."""


class ConfigurationError(ComnetError):
    """An option, a plans file or an environment variable has a value that cannot be used."""


class OutputError(DataError):
    """A file cannot be written: no room, no permission, a medium that fails. Nothing half-written is left."""
