"""docs/architectures.md: the answers of a walk over model types as tables, with the reasons in plain words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import date
from typing import Any

import transformers

Answers = dict[str, dict[str, Any]]
VERDICTS = ("measured", "in part", "not measured", "not built", "WRONG")
# a pattern in the message of an ingest or of transformers, and the reason that the page gives
PLAIN = (
    (r"no attention scores were seen in it \(made of (.*)\)", r"no softmax over q·k in layers of \1"),
    (r"no softmax is taken", "no softmax over q·k is seen (state spaces, convolutions, kernels of another kind)"),
    (r"no scores of its (\w+) were seen", r"\1 not reached by any probe"),
    (r"takes ([\w, ]+), for which no probe is known", "no probe is known for what it takes"),
    (r"is off by", "the gate refuses it: no factors reproduce its scores"),
    (r"not linear in the hidden states", "its q or k is not linear in the hidden states"),
    (r"depends on the hidden states at others", "its q or k at a position depends on other tokens"),
    (r"Could not find (\w+) neither", r"transformers has no \1"),
    (r"of \d+ positions, so none belongs", "its queries or keys are not one a position"),
    (r"of (another|its own) (layer|hidden states)", "its keys or queries are those of another layer"),
    (r"attention calls", "makes several attention calls at once"),
    (r"takes no \(batch, position, feature\)", "its attention takes no (batch, position, feature) hidden states"),
    (r"neither an RMS norm nor a LayerNorm", "its q- or k-norm is of another kind"),
    (r"can't be run alone", "its attention can't be run again alone"),
    (r"(requires the|No module named) '?(\w+)", r"needs the package \2"),
    (r"takes over", "stays too large, or takes too long"),
    (r"raised \w+|want every weight|under that name", "does not run on the probes, or not at this size"),
)


def page(answers: Answers, tolerance: float) -> str:
    """The whole page, ready to be written; tolerance: of a head's largest σ."""
    by_verdict = {
        verdict: {name: answer for name, answer in answers.items() if answer["verdict"] == verdict}
        for verdict in VERDICTS
    }
    measured = {name: answer for name, answer in answers.items() if answer["n_heads"]}
    n_heads = sum(answer["n_heads"] for answer in measured.values())
    return f"""# Which architectures are measured

{len(answers)} model types of transformers {transformers.__version__} have a bare model. On {date.today()} a tiny
random model of each was built from its config, saved and ingested as any checkpoint is, and every head's singular
values in the warehouse were held against the dense float64 SVD of W_Kᵀ W_Q, which was read off the reloaded model by
feeding it basis vectors.

**{counts(answers)}**, with {n_heads} heads compared.

`make architectures` measures again and writes this page; it ends with an error where one head is off by more than
{tolerance:g} of its largest σ, or missing. No type has code of its own.

## Measured, whole or in part

`found by` is the cut of the weights that reproduced the model, or that basis vectors read them. `worst` is the largest
difference of a σ, relative to the largest σ of its head. `left out` has a row in `skipped_modules`.

| model type | found by | heads | worst | left out |
|---|---|---|---|---|
{chr(10).join(_row(name, answer) for name, answer in measured.items())}

## Not measured

An ingest refuses these in one line, and writes nothing. A reason is followed by the types that it holds for.

{_by_reason(by_verdict["not measured"])}

## Not built

No statement on these: transformers makes no small random model of them here.

{_by_reason(by_verdict["not built"])}
"""


def _row(name: str, answer: dict[str, Any]) -> str:
    kind = f"**WRONG** {name}" if answer["verdict"] == "WRONG" else name
    left_out: Counter[str] = Counter()
    for reason in answer["why"]:
        times = re.match(r"(\d+) × ", reason)
        left_out[_plain(reason)] += int(times[1]) if times else 1
    reasons = "; ".join(reason if count == 1 else f"{count} × {reason}" for reason, count in left_out.items())
    worst = f"{answer['worst'] or 0:.0e}"
    return table_row(kind, ", ".join(answer["layouts"]), answer["n_heads"], worst, reasons)


def _by_reason(answers: Answers) -> str:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, answer in answers.items():
        groups[_plain("; ".join(answer["why"]))].append(name)
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    return "\n".join(f"- **{len(names)}** {reason}: {', '.join(names)}" for reason, names in largest_first)


def _plain(reason: str) -> str:
    for pattern, plain in PLAIN:
        if match := re.search(pattern, reason):
            return match.expand(plain)
    return reason[:160].rstrip()


def table_row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def counts(answers: Answers) -> str:
    by_verdict = Counter(answer["verdict"] for answer in answers.values())
    return " · ".join(f"{by_verdict[verdict]} {verdict}" for verdict in VERDICTS)
