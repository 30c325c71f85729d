"""The options as make's variables: which there are, and whether what was typed is one of them.

`python -m eigenhouse.variables` lists `verbs` or `variables`, or refuses what the verbs that it is given don't take. It
needs Python alone: `make help` answers, and a misspelt variable is refused, before anything is installed.
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.options import TARGETS, VERBS, variable

OURS = "EIGENHOUSE_"  # before the name of each variable that make hands over
GOALS = "GOALS"  # what make was asked for: a variable that one of several verbs takes is no mistake of the others
EVERYWHERE = {"WAREHOUSE": "The DuckDB file.", "CACHE": "The folder that keeps fetched models and unfinished runs."}
OPTIONS = {name: verb.options for name, verb in VERBS.items()} | TARGETS


def taken_by(verb: str) -> dict[str, Field[Any]]:
    """The variables of a verb or another of make's targets, and the option that each of them is."""
    return {variable(each.name): each for each in fields(OPTIONS[verb])}


def refuse_untaken(verb: str, environ: Mapping[str, str]) -> None:
    """Raise EigenhouseError for a variable that there isn't, or that does nothing for the verb.

    make hands over whatever was typed, so that its file needn't know any option.
    """
    given = {name.removeprefix(OURS): text for name, text in sorted(environ.items()) if name.startswith(OURS)}
    goals = [verb, *(goal for goal in given.pop(GOALS, "").split() if goal in OPTIONS)]
    known = {name for each in OPTIONS for name in taken_by(each)} | EVERYWHERE.keys()
    takes = {name for goal in goals for name in taken_by(goal)} | EVERYWHERE.keys()
    has = ", ".join(taken_by(verb)) or "none"
    for name in [name for name in given if name not in known]:
        near = [*difflib.get_close_matches(name.upper(), takes, 1), *difflib.get_close_matches(name.upper(), known, 1)]
        hint = f" (did you mean {near[0]}?)" if near else f"; {verb} has {has}"
        raise EigenhouseError(f"no variable {name}{hint}")
    for name in [name for name, text in given.items() if text and name not in takes]:
        raise EigenhouseError(f"{verb} takes no {name}, which would do nothing; its variables: {has}")


def _verbs() -> Iterator[str]:
    for verb, about in VERBS.items():
        yield _entry(f"make {verb}", about.options.__doc__ or "")


def _variables() -> Iterator[str]:
    """Each with the verbs that take it in this sense."""
    verbs_of: dict[tuple[str, str], list[str]] = {}
    for verb in OPTIONS:
        for name, each in taken_by(verb).items():
            if name not in EVERYWHERE:
                shown = f"{name}=1" if each.default is False else name
                default = "" if each.default in (None, "", False) else f" Default: {each.default}."
                verbs_of.setdefault((shown, each.metadata["help"] + default), []).append(verb)
    for (name, text), verbs in verbs_of.items():
        yield _entry(name, f"{text} ({', '.join(verbs)})")
    for name, text in EVERYWHERE.items():
        yield _entry(name, text)


def _entry(name: str, text: str) -> str:
    return textwrap.fill(text, 118, initial_indent=f"{name:<20} ", subsequent_indent=" " * 21, break_on_hyphens=False)


def main(words: list[str]) -> None:
    if lines := {"verbs": _verbs, "variables": _variables}.get(" ".join(words)):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that has enough ends the list
        print(*lines(), sep="\n")
    try:
        for verb in [goal for goal in words if goal in OPTIONS]:
            refuse_untaken(verb, os.environ)
    except EigenhouseError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
