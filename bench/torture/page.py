"""The figures of docs/reliability.md, from bench/torture.json: what was tried, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bench.processes import ROOT

RESULTS, PAGE = ROOT / "bench" / "torture.json", ROOT / "docs" / "reliability.md"
START = "<!-- the figures: written by make torture -->"
Result = dict[str, Any]


def results() -> dict[str, Result]:
    """What was measured last of every row."""
    found: dict[str, Result] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found


def keep(found: dict[str, Result]) -> None:
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    promise = PAGE.read_text(encoding="utf-8").partition(START)[0]
    PAGE.write_text(f"{promise}{START}\n\n{figures(found)}", encoding="utf-8")


def figures(found: dict[str, Result]) -> str:
    return "\n".join([*_rows(found), *_moments(found), ""])


def _rows(found: dict[str, Result]) -> Iterator[str]:
    yield "| row | what came of it | minutes | of |\n|---|---|---|---|"
    circumstances = sorted({_circumstance(result) for result in found.values()})
    for name, result in found.items():
        number = circumstances.index(_circumstance(result)) + 1
        yield f"| `{name}` | {line(name, result)} | {result['took'] / 60:.1f} | {number} |"
    yield ""
    yield from (f"{number}. {circumstance}" for number, circumstance in enumerate(circumstances, 1))


def line(name: str, result: Result) -> str:
    """One row's figures in words."""
    if "not_run" in result:
        return f"not run: {result['not_run']}"
    failed = f"**{len(result['failures'])} failed**; " if result["failures"] else ""
    return failed + WORDS[name](result)


def _kills(result: Result) -> str:
    kinds, left, ended = result["kinds"], result["left"], _counted(result["signals"])
    return (
        f"{result['n']} ingests ended from outside ({ended}; {kinds.get('load', 0)} of them in the load, "
        f"{kinds.get('cold', 0)} cold processes): the old rows {left.get('old', 0)} times, all of the new ones "
        f"{left.get('new', 0)} times, and every next ingest that was left alone completed"
    )


def _disks(result: Result) -> str:
    kept = "the old rows each time, or all of the new ones where the line said so"
    return f"{result['n']} full disks, in {_counted(result['where'])}: {kept}, and every next ingest completed"


def _crowd(result: Result) -> str:
    n, loads, reads = result["n"], result["loads"], result["reads"]
    return f"{n} writers and {n} readers for {result['seconds']:.0f} s: {loads} loads and {reads} reads, none half"


def _stops(result: Result) -> str:
    worst = max(verb["seconds"] for verb in result["verbs"].values())
    return f"{len(result['verbs'])} commands, both signals at several moments: the slowest had ended after {worst} s"


def _said(result: Result) -> str:
    return " · ".join(result["said"][-4:]).replace("|", "\\|")


WORDS = {"kills": _kills, "disks": _disks, "crowd": _crowd, "stops": _stops, "inputs": _said, "fuzz": _said}


def _moments(found: dict[str, Result]) -> Iterator[str]:
    """Seconds from Ctrl-C or SIGTERM to the end, by command, and by stage of an ingest."""
    if verbs := found.get("stops", {}).get("verbs"):
        yield "\nSeconds from Ctrl-C or SIGTERM to the end, the worst of all moments:\n"
        yield "| command | seconds |\n|---|---|"
        yield from (f"| {verb} | {told['seconds']:.2f} |" for verb, told in verbs.items())
    if stages := found.get("kills", {}).get("seconds_to_stop"):
        yield "\nThe same of an ingest, by the stage that was under way:\n"
        yield "| stage | seconds |\n|---|---|"
        yield from (f"| {stage} | {seconds:.2f} |" for stage, seconds in stages.items())


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _circumstance(result: Result) -> str:
    return f"{result['machine']}; {result['measured_at']}, code {result['code']}"
