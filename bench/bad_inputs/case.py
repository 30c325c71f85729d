"""One bad input: a name, how it is made in a folder, and what the line that refuses it must say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Words = list[str]  # what follows `eigenhouse ingest`


@dataclass(frozen=True)
class Case:
    """make: fills the folder that it is given, and returns the words of the command · says: what the line must hold.

    is_read: an oddity that nothing hangs on, so that the model is measured all the same.
    """

    name: str
    make: Callable[[Path], Words]
    says: tuple[str, ...] = ()
    is_read: bool = False


def of_model(folder: Path) -> Words:
    """The command on a folder or file, its geometry alone: none of the models here has a tokenizer."""
    return ["--model", str(folder), "--static-only"]


def named(cases: Iterator[Case]) -> dict[str, Case]:
    """By name. Raises ValueError where two have the same."""
    found: dict[str, Case] = {}
    for case in cases:
        if case.name in found:
            raise ValueError(f"two cases are named {case.name}")
        found[case.name] = case
    return found
