"""Every bad input tried, as a table: input, line, exit status, seconds, peak MB. Status 1 where one isn't refused.

Each is an ingest in a process of its own, in 1.5 GB of memory: a copy of one that has imported everything.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator

from bench import tiny_warehouse
from bench.bad_inputs import corpus
from bench.bad_inputs.case import Case
from bench.bad_inputs.trial import Outcome, preload, tried


def walk(cases: Iterable[Case]) -> Iterator[tuple[Case, Outcome]]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    preload()
    warehouse = tiny_warehouse.empty()
    for case in cases:
        yield case, tried(case, warehouse)


def row(case: Case, outcome: Outcome) -> str:
    line = " / ".join(outcome.line.splitlines()).replace("|", "\\|")
    status = "none" if outcome.status is None else outcome.status
    return f"| {case.name} | {line} | {status} | {outcome.seconds:.2f} | {outcome.peak_mb:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.torture_inputs", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases whose names hold one of these")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one case in N")
    parser.add_argument(
        "--faults", action="store_true", help="show the cases that end otherwise than they should alone"
    )
    arguments = parser.parse_args()
    cases = [case for name, case in corpus().items() if not arguments.only or any(p in name for p in arguments.only)]
    n_cases, faults = 0, 0
    if not arguments.faults:
        print("| input | line | status | seconds | peak MB |\n|---|---|---|---|---|")
    for case, outcome in walk(cases[:: arguments.every]):
        n_cases += 1
        fault = outcome.fault(case)
        faults += bool(fault)
        if fault:
            print(f"FAULT {case.name}: {fault}", file=sys.stderr)
        if fault or not arguments.faults:
            print(row(case, outcome), flush=True)
    print(f"{n_cases - faults} of {n_cases} bad inputs end as they should", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
