"""The verbs that write what the user says of models: `tag` of some, `tags FROM=` of many."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.exchange import tag_sheets
from eigenhouse.ingest.warehouse import selection, store, tags
from eigenhouse.options import Tag, TagSheet
from eigenhouse.visible import visible

MOST_NAMED = 10  # unknown models, with near names


def tag(options: Tag) -> None:
    """Set tags of the models that MODEL means; an empty value takes one away."""
    if not options.model:
        raise EigenhouseError("wanted MODEL=<a model of the warehouse>; `make models` lists them")
    given = _given(options.tags)
    with store.writing(options.warehouse) as con:
        stacks = selection.chosen(con, options.model)
        n_set, n_gone = tags.write(con, options.warehouse, dict.fromkeys(stacks, given))
    _say_done(n_set, n_gone, stacks.values())


def _given(text: str) -> dict[str, str]:
    """Tag → value of the words of a text, quoted as a shell quotes."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise EigenhouseError(f"wanted TAGS=\"mmlu=63.4 licence='Apache 2.0'\"; got {text!r}: {error}") from None
    found: dict[str, str] = {}
    for word in words or [""]:
        name, equals, value = word.partition("=")
        if not equals or (fault := tags.fault_of_name(name) or tags.fault_of_value(value)):
            why = f": {fault}" if equals else ""
            raise EigenhouseError(
                f"wanted TAGS=\"mmlu=63.4 licence='Apache 2.0'\", an empty value to take one away; got {word!r}{why}"
            )
        if name in found:
            raise EigenhouseError(f"wanted each tag once in TAGS; got {name} twice")
        found[name] = value.strip()
    return found


def tags_from(options: TagSheet) -> None:
    """Set the tags of a CSV; models that the warehouse lacks are named in a line, and the others go in."""
    assert options.from_
    lines = tag_sheets.read(options.from_)
    with store.writing(options.warehouse) as con:
        known = {
            name: {each.model_key: each.model_id for each in held} for name, held in selection.Names(con).of.items()
        }
        unknown = [line.model for line in lines if line.model not in known]
        if unknown == [line.model for line in lines]:
            what = f"none of its models is in the warehouse: {_with_near(unknown, known)}" if lines else "got none"
            raise EigenhouseError(f"{options.from_}: wanted lines of models to tag; {what}")
        found = _of_stacks(options, lines, known)
        n_set, n_gone = tags.write(con, options.warehouse, found)
    _say_done(n_set, n_gone, [model_id for line in lines for model_id in known.get(line.model, {}).values()])
    if unknown:
        _say(f"not in the warehouse, and left out: {_with_near(unknown, known)}")


def _of_stacks(options: TagSheet, lines: list[tag_sheets.Line], known: dict[str, dict[int, str]]) -> tags.Tags:
    """A stack may have a line of its own and one of its checkpoint, unless the two contradict each other."""
    found: tags.Tags = {}
    for line in lines:
        for key, model_id in known.get(line.model, {}).items():
            for name, value in line.tags.items():
                if found.setdefault(key, {}).setdefault(name, value) != value:
                    raise EigenhouseError(
                        f"{options.from_}, line {line.number}: wanted one {name} of {model_id}; got {value!r} after "
                        f"{found[key][name]!r}; nothing was written"
                    )
    return found


def _with_near(unknown: list[str], known: Iterable[str]) -> str:
    """The first of them, each with the name that may have been meant."""
    folded = {name.casefold(): name for name in known}
    named_here = []
    for name in unknown[:MOST_NAMED]:
        near = difflib.get_close_matches(name.casefold(), folded, 1)
        named_here.append(f"{name} (near {folded[near[0]]})" if near else name)
    more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
    return ", ".join(named_here) + more


def _say_done(n_set: int, n_gone: int, models: Iterable[str]) -> None:
    names = list(dict.fromkeys(models))
    what = [f"{n_set} tags set"] * bool(n_set) + [f"{n_gone} taken away"] * bool(n_gone) or ["nothing changed"]
    _say(f"{', '.join(what)}: {names[0] if len(names) == 1 else f'{len(names)} models'}")


def _say(line: str) -> None:
    print(visible(line), flush=True)
