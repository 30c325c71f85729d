"""A list of models: one a line with its options, as in a shell; wrong lines are told with their numbers."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources import regular
from eigenhouse.ingest.sources.source import refuse_bad_key
from eigenhouse.options import Ingest, variable

NOT_OF_A_LINE = {
    "model": "the line's first word is the model",
    "warehouse": "one WAREHOUSE is for the whole list",
    "wait": "one WAIT is for the whole list",
    "pack": "packs are made in the cache",
}
MOST_TOLD = 20


@dataclass(frozen=True)
class Line:
    """One model to ingest: where it stands in the list, its words, and what they mean."""

    number: int
    words: str
    options: Ingest


def read(path: Path) -> list[Line]:
    """Raises EigenhouseError for any line that can't be meant, all of them told, before anything is started."""
    try:
        texts = regular.content(path.expanduser()).decode().splitlines()
    except OSError as error:
        raise EigenhouseError(f"cannot read LIST={path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EigenhouseError(
            f"want UTF-8 text as LIST={path}, got the byte 0x{error.object[error.start]:02x}"
        ) from None
    lines: list[Line] = []
    wrong: list[str] = []
    for number, text in enumerate(texts, 1):
        try:
            lines += _lines(number, text, {line.options: line.number for line in lines})
        except (EigenhouseError, ValueError) as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f"; and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
        raise EigenhouseError(f"{path}: nothing was started\n" + "; ".join(wrong[:MOST_TOLD]) + more)
    if not lines:
        raise EigenhouseError(f"{path} names no model: want one a line, as minilm-l6 STATIC_ONLY=1")
    return lines


def _lines(number: int, text: str, before: dict[Ingest, int]) -> Iterator[Line]:
    """None of an empty line or a comment, several of one with REVISIONS."""
    words = shlex.split(text, comments=True)
    if not words:
        return
    options = _options(words)
    for revision in _revisions(options):
        one = replace(options, revision=revision, revisions=None)
        if one in before:
            raise EigenhouseError(f"the same as line {before[one]}")
        shown = shlex.join(words) + (f" ({revision})" if options.revisions else "")
        yield Line(number, shown, one)


def _revisions(options: Ingest) -> list[str | None]:
    names = [name.strip() for name in (options.revisions or "").split(",") if name.strip()]
    return list(dict.fromkeys(names)) or [options.revision]


def _options(words: list[str]) -> Ingest:
    model, revision = _model(words[0])
    given: dict[str, Any] = {"model": model, **({"revision": revision} if revision else {})}
    known = {variable(each.name): each for each in fields(Ingest)}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            raise EigenhouseError(f"want NAME=value, got {word!r}" + (f" (did you mean {near[0]}?)" if near else ""))
        option = known[name]
        if option.name in NOT_OF_A_LINE:
            raise EigenhouseError(f"{name} has no place here: {NOT_OF_A_LINE[option.name]}")
        if option.name in given:
            raise EigenhouseError(f"{name} twice" if name != "REVISION" else "the revision twice")
        given[option.name] = _value(option, value)
    return _meant(Ingest(**given))


def _model(word: str) -> tuple[str, str | None]:
    """org/name@revision; a path that has an @ in it is a path."""
    model, at, revision = word.rpartition("@")
    if not at or os.path.exists(os.path.expanduser(word)):
        model, revision = word, ""
    if "=" in model and not os.path.exists(os.path.expanduser(model)):
        raise EigenhouseError(f"want the model first, got {word!r}")
    if model.endswith(".json"):
        raise EigenhouseError(f"{model} holds measurements, which `make ingest` takes one by one")
    if not model or (at and not revision and model != word):
        raise EigenhouseError(f"want a model and its @revision, got {word!r}")
    return model, revision or None


def _value(option: Field[Any], text: str) -> Any:
    """As the command line reads it."""
    name, kind = variable(option.name), get_type_hints(Ingest)[option.name]
    if isinstance(option.default, bool):
        if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
            raise EigenhouseError(f"want {name}=1 or nothing, got {text!r}")
        return text.lower() in ("1", "true", "yes", "on")
    if kind in (int, float):
        least = option.metadata["limits"].get("min")
        try:
            number = kind(text)
        except ValueError:
            raise EigenhouseError(f"want a number as {name}, got {text!r}") from None
        if least is not None and number < least:
            raise EigenhouseError(f"want {name} of at least {least}, got {text!r}")
        return number
    return Path(text) if "Path" in str(kind) else text


def _meant(options: Ingest) -> Ingest:
    options.check()
    if options.operator:
        raise EigenhouseError("OPERATOR goes with a file of measurements")
    if options.revision and options.revisions:
        raise EigenhouseError("want a revision or REVISIONS, got both")
    for what in ("name", "revision"):
        if getattr(options, what) is not None:
            refuse_bad_key(variable(what), getattr(options, what))
    return options
