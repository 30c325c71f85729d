"""The one exception a user is meant to see, and how a message comes to a terminal: plain, short, with its cause."""

from __future__ import annotations

from eigenhouse.visible import visible

MOST_LETTERS = 300


class EigenhouseError(Exception):
    """A refusal of one or two lines: what was wanted, what came, the likely cause.

    The command line prints the message alone and exits with status 1; anything else that escapes is a bug
    and keeps its traceback. Nothing has been written to the warehouse when it is raised.
    """


def not_installed(module: str) -> EigenhouseError:
    """A library that only reading models needs, and that a plain install leaves out."""
    library = module.partition(".")[0]
    return EigenhouseError(f"this needs {library}, which isn't installed: pip install 'eigenhouse[ingest]' brings it")


def first_line(error: BaseException) -> str:
    """The message of an exception in one line with its cause: what a colon announces, or what it was raised from."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    n_announced = next((n for n, line in enumerate(lines) if not line.endswith((":", ",", "("))), len(lines) - 1)
    said = " ".join(lines[: n_announced + 1]) or type(error).__name__
    cause = first_line(error.__cause__) if error.__cause__ else ""
    return shortened(said if cause in said else f"{said} ({cause})")


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """Cut in its middle: what is wrong often stands at the end."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 3 :]}"


def refusal(error: EigenhouseError) -> str:
    """What a terminal is shown of it: two lines at most, though a name from a file may hold more."""
    first, _, rest = str(error).partition("\n")
    lines = [first, rest.replace("\n", " ")] if rest else [first]
    return "\n".join(visible(shortened(line, 3 * MOST_LETTERS)) for line in lines)
