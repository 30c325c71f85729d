"""The one exception a user is meant to see, and how a message comes to a terminal: plain, short, with its cause."""

from __future__ import annotations

import re

MOST_LETTERS = 300
# controls of a terminal, marks that turn the order of letters round, and halves of surrogate pairs
UNPRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class EigenhouseError(Exception):
    """A refusal of one or two lines: what was wanted, what came, the likely cause.

    The command line prints the message alone and exits with status 1; anything else that escapes is a bug
    and keeps its traceback. Nothing has been written to the warehouse when it is raised.
    """


class Stopped(EigenhouseError):
    """The user ended the command: exit status 130, as a shell gives for Ctrl-C."""


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


def plain_text(text: str) -> str:
    """Text of a file or a user as a terminal may have it: what would steer it is written as an escape, as \\x1b."""
    return UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def refusal(error: EigenhouseError) -> str:
    """What a terminal is shown of it: two lines at most, though a name from a file may hold more."""
    first, _, rest = str(error).partition("\n")
    lines = [first, rest.replace("\n", " ")] if rest else [first]
    return "\n".join(plain_text(shortened(line, 3 * MOST_LETTERS)) for line in lines)
