"""docs/stored_forms.md: what each stored form came to, as tables by family."""

from __future__ import annotations

from collections import Counter
from datetime import date
from textwrap import shorten

import transformers

from bench.coverage_page import table_row
from bench.stored_forms.form import FORMS, Form
from bench.stored_forms.walk import READINGS, TOLERANCE, Outcome

Answers = dict[str, dict[str, Outcome]]
HEAD = f"{table_row('stored as', *READINGS)}\n|---|---|---|"


def page(answers: Answers) -> str:
    """The whole page, ready to be written."""
    families = list(dict.fromkeys(FORMS[name].family for name in answers))
    tables = "\n\n".join(_table(family, answers) for family in families)
    counts = Counter(one.verdict for answer in answers.values() for one in answer.values())
    summary = " · ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "refused", "WRONG", "crashed"))
    return f"""# How weights may be stored

Checkpoints hold weights in many forms, and most of those for quantized ones store codes whose scales are other
tensors. Codes that are taken for weights have the right shape and look like weights. On {date.today()}, with
transformers {transformers.__version__}, a tiny random model was stored in each of {len(answers)} forms by code that
shares nothing with the reader, then ingested whole and with `STATIC_ONLY=1`. Every head's singular values, and those
of every matrix, were held against dense float64 ones of the exact values that the stored codes stand for.

**{summary}**

`make stored-forms` measures again and writes this page; it ends with an error where a row is not what its form is
expected to come to.

- **right**: nothing is off by more than {TOLERANCE:g} of the largest σ. The first number is the largest error; the
  second is what storing itself did to the heads' singular values, against the weights before.
- **refused**: an error in one line, and nothing is written.
- **WRONG**: numbers are written that are off or missing.

{tables}
"""


def _table(family: str, answers: Answers) -> str:
    rows = [row(FORMS[name], answer) for name, answer in answers.items() if FORMS[name].family == family]
    return "\n".join([f"## {family}", "", HEAD, *rows])


def row(form: Form, answer: dict[str, Outcome]) -> str:
    return table_row(form.name, *(_cell(form, answer[reading]) for reading in READINGS if reading in answer))


def _cell(form: Form, outcome: Outcome) -> str:
    verdict = outcome.verdict if outcome.is_expected(form) else f"**{outcome.verdict}**"
    errors = [f"{error:.0e}" for error in (outcome.exact, outcome.original) if error is not None]
    why = shorten(outcome.why, 160, placeholder=" …")
    return " ".join(part for part in (verdict, ", ".join(errors), why) if part)
