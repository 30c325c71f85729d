"""Which forms of storing weights are read right: one tiny model in each, ingested whole and with STATIC_ONLY.

A row agrees with what its form is expected to come to, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from multiprocessing import get_context
from pathlib import Path

from bench import tiny_warehouse
from bench.stored_forms import FORMS
from bench.stored_forms.page import page, row
from bench.stored_forms.walk import Outcome, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stored_forms", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="forms whose names hold one of these")
    parser.add_argument("--jobs", type=int, default=1, help="forms at a time")
    parser.add_argument("--page", type=Path, help="write the table as Markdown to this file too")
    arguments = parser.parse_args()
    names = [name for name in FORMS if not arguments.only or any(part in name for part in arguments.only)]
    if not names:
        parser.error(f"no form is named like {', '.join(arguments.only)}; there are {', '.join(FORMS)}")
    answers: dict[str, dict[str, Outcome]] = {}
    with get_context("fork").Pool(arguments.jobs, _silenced) as pool:
        for name, answer in zip(names, pool.imap(outcomes, names), strict=True):
            answers[name] = answer
            print(row(FORMS[name], answer), flush=True)
    met = {name: all(one.is_expected(FORMS[name]) for one in answer.values()) for name, answer in answers.items()}
    print(f"{sum(met.values())} of {len(met)} forms come to what is expected of them")
    if arguments.page:
        arguments.page.write_text(page(answers), encoding="utf-8")
    sys.exit(not all(met.values()))


def _silenced() -> None:
    """In each worker: what an ingest prints is of no use among the rows."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    tiny_warehouse.empty()


if __name__ == "__main__":
    main()
