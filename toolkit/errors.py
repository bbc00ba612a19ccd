"""Every error this package raises on purpose.

`ToolkitError` is the root. Its subclasses say who must act: an `InputError` means that what the user
gave is wrong (the command exits with 2), anything else that the work itself failed (exit code 1). The
message is one line: the file, the place in it, what is wrong, and what to do.
"""


class ToolkitError(Exception):
    """The work failed. `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(ToolkitError):
    """Something the user gave is wrong."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe does not parse, names unknown things or contradicts itself."""


class DataError(InputError):
    """A file that is read is missing or does not fit, or one to write is there already."""


class ModelError(InputError):
    """A model or adapter is missing, broken, or not the one an adapter was trained on."""


class TrainingError(ToolkitError):
    """A training stage stopped: a loss that is not a number, no gradient, a full disk."""


class EndpointError(ToolkitError):
    """A remote model did not answer after its retries."""


class JudgeError(ToolkitError):
    """A judge could not be used at all (single unreadable verdicts are recorded, not raised)."""


class RatingError(InputError):
    """The votes do not determine a rating, or the fit did not converge."""


class StoreError(ToolkitError):
    """The vote store cannot be read or written."""


class BusyError(ToolkitError):
    """Another process is working in the same run folder."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, else its kind."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
