"""docs/architectures.md: the answers of a walk over model types as tables, with the reasons in plain words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import date
from typing import Any

import transformers

from ingest.conformance import TOLERANCE

Answers = dict[str, dict[str, Any]]
# what an ingest or transformers said, and what it comes to
PLAIN = (
    (r"made no such call|'eigenhouse'$|makes no call", "computes its scores where nothing can look on"),
    (r"(its [qk] )?is not linear in the hidden states", "its q or k is not linear in the hidden states"),
    (r"got none; \S+: no call reached", "the attention it has left is not softmax over q·k"),
    (r"several attention calls", "makes several attention calls at once"),
    (r"one that takes (\w+)", "takes \\1, not text or images"),
    (r"to run 1 token\(s\), but it raised", "does not run on tokens or one image alone"),
    (r"it can't be run alone", "its attention module can't be run again alone"),
    (r"requires the (\w+) library", "needs the package \\1"),
    (r"No module named '(\w+)'", "needs the package \\1"),
    (r"takes over", "stays too large"),
)
SKIPPED = (
    (r"its (\w+) made no call .*", "\\1 not reached by text"),
    (r"no call reached .*\(made of (.*)\)", "no attention: \\1"),
)


def page(answers: Answers) -> str:
    """The whole page, ready to be written."""
    found = Counter(answer["verdict"] for answer in answers.values())
    by_verdict = {verdict: {n: a for n, a in answers.items() if a["verdict"] == verdict} for verdict in found}
    measured = {n: a for n, a in answers.items() if a["n_heads"]}
    n_heads = sum(a["n_heads"] for a in measured.values())
    return f"""# Which architectures are measured

{len(answers)} model types of transformers {transformers.__version__} have a bare model. On {date.today()} a tiny
random model of each was built from its config, saved and ingested as any checkpoint is, and every head's singular
values in the warehouse were held against the dense float64 SVD of W_Kᵀ W_Q, which was read off the reloaded model by
feeding it basis vectors.

**{found["measured"]} measured · {found["in part"]} in part · {found["not measured"]} not measured ·
{found["not built"]} not built · {found["WRONG"]} wrong**, with {n_heads} heads compared.

`make architectures` measures again and writes this page; it ends with an error where one head is off by more than
{TOLERANCE:g} of its largest σ, or missing. No type has code of its own.

## Measured, whole or in part

`found by` is the cut of the weights that reproduced the model, or that basis vectors read them. `worst` is the largest
difference of a σ, relative to the largest σ of its head. `left out` has a row in `skipped_modules`.

| model type | found by | heads | worst | left out |
|---|---|---|---|---|
{chr(10).join(_row(name, answer) for name, answer in measured.items())}

## Not measured

An ingest refuses these in one line, and writes nothing. A reason is followed by the types that it holds for.

{_by_reason(by_verdict.get("not measured", {}))}

## Not built

No statement on these: transformers makes no small random model of them here.

{_by_reason(by_verdict.get("not built", {}))}
"""


def _row(name: str, answer: dict[str, Any]) -> str:
    left_out = "; ".join(_plain(reason, SKIPPED) for reason in answer["why"])
    kind = f"**WRONG** {name}" if answer["verdict"] == "WRONG" else name
    cells = (kind, ", ".join(answer["layouts"]), answer["n_heads"], f"{answer['worst'] or 0:.0e}", left_out)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _by_reason(answers: Answers) -> str:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, answer in answers.items():
        groups[_plain("; ".join(answer["why"]), PLAIN)].append(name)
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    return "\n".join(f"- **{len(names)}** {reason}: {', '.join(names)}" for reason, names in largest_first)


def _plain(reason: str, words: tuple[tuple[str, str], ...]) -> str:
    for pattern, plain in words:
        if told := re.search(pattern, reason):
            before = re.match(r"\d+ × ", reason) if words is SKIPPED else None
            return (before[0] if before else "") + told.expand(plain)
    return reason[:160].rstrip()
