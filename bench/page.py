"""docs/performance.md, from bench/results.json and bench/notes.md: what was measured, and what people found out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS, NOTES = ROOT / "docs" / "performance.md", ROOT / "bench" / "results.json", ROOT / "bench" / "notes.md"
COMMAND = "python -m bench.performance --page"
INTRODUCTION = f"""# Performance

Each row is a ratio of two things that were measured in turns, in one run on one machine: another process can slow both
five times, so seconds of different runs don't compare. `make bench` measures again, in 17 minutes on two cores, keeps
the numbers in `bench/results.json` and writes this page; `make bench REV=<revision>` takes another revision to compare
with. `python -m bench.performance --rows <names>` measures a few rows, `--layers 36` the whole depth, `--growth` the
growth table, and `{COMMAND}` only writes the page. Free text is in `bench/notes.md`.
"""
FLOOR = """## The floor

L layers of H query heads on G key heads of c features, hidden size d, ffn f, P = L (L − 1)/2, V variants of which N
have other columns than the plain factors. A multiplication with its addition counts two operations, a symmetric product
half. Decompositions count as in Golub & Van Loan, Matrix Computations, 4th ed.: symmetric eigenvalues 4/3 n³, with
vectors 9 n³, singular values 8/3 n³, with both sides 21 n³. They run far below a GEMM's rate, so nothing meets the
floor. The gate's forward passes and the rows' way to disk are not in it."""
Result = dict[str, Any]


def results() -> Result:
    """What was measured last of every row."""
    found: Result = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {"rows": {}, "growth": {}} | found


def keep(found: Result) -> None:
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(found: Result) -> str:
    """The whole page, ready to be written."""
    rows = found["rows"]
    parts = [INTRODUCTION, *_reached(rows), *_profile(rows), *_floor(rows), *_growth(found["growth"])]
    return "\n".join([*parts, NOTES.read_text(encoding="utf-8").rstrip(), ""])


def _reached(rows: dict[str, Result]) -> Iterator[str]:
    yield "## What is reached\n"
    yield "`≥` is theirs/ours, `≤` is ours/theirs. Numbers of one machine and day are of one run.\n"
    yield "| row | what | against | reach | measured | ours | theirs | of |\n|---|---|---|---|---|---|---|---|"
    circumstances = sorted({_circumstance(row) for row in rows.values()})
    for name, row in rows.items():
        against = f"`{row['revision']}`" if row["against"] == "the revision" else row["against"]
        start = f"| `{name}` | {row['what']} | {against} | {row['reach']} |"
        number = circumstances.index(_circumstance(row)) + 1
        if "not_run" in row:
            yield f"{start} not run | | | {number} |"
        else:
            ratio = f"{_short(row['ratio'])}×" if row["is_reached"] else f"**{_short(row['ratio'])}×**, not reached"
            unit = row["unit"]
            yield f"{start} {ratio} | {_short(row['ours'])} {unit} | {_short(row['theirs'])} {unit} | {number} |"
    yield ""
    for number, text in enumerate(circumstances, 1):
        yield f"{number}. {text}"
    notes = [f"- `{name}`: {row.get('not_run') or row['note']}" for name, row in rows.items()]
    yield from ("", *notes, "") if notes else ("",)


def _circumstance(row: Result) -> str:
    return f"{row['machine']}; {row['measured_at']}, code {row['code']}"


def _profile(rows: dict[str, Result]) -> Iterator[str]:
    """Seconds by stage, as ingest_runs keeps them, of the run that the first rows compare."""
    row = rows.get("static_weights", {})
    if "detail" not in row:
        return
    ours, theirs = row["detail"]["ours"], row["detail"]["theirs"]
    least = rows.get("static_floor", {}).get("detail", {}).get("floor", {})
    yield f"## Where the time goes\n\n{row['note']}: seconds of each stage, and the floor under it.\n"
    yield f"| stage | ours | `{row['revision']}` | floor |\n|---|---|---|---|"
    for stage in [*ours, *(name for name in [*theirs, *least] if name not in ours)]:
        cells = [f"{found[stage]:.2f}" if stage in found else "" for found in (ours, theirs, least)]
        yield f"| `{stage}` | {' | '.join(cells)} |"
    outside = [seconds - sum(stages.values()) for seconds, stages in ((row["ours"], ours), (row["theirs"], theirs))]
    yield f"| start, load, end | {outside[0]:.2f} | {outside[1]:.2f} | |"
    yield ""


def _floor(rows: dict[str, Result]) -> Iterator[str]:
    row = rows.get("static_floor", {})
    if "detail" not in row:
        return
    detail = row["detail"]
    yield FLOOR
    rates = ", ".join(f"{rate / 1e9:.1f} in {name}" for name, rate in detail["gemm"].items())
    yield f"\nThe same run's GEMM made {rates} (10⁹ operations a second); weights were read at"
    yield f"{detail['reading'] / 1e9:.1f} GB/s.\n"
    yield "| stage | what | operations | 10⁹ | dtype |\n|---|---|---|---|---|"
    for stage, what, count, dtype, flops in detail["terms"]:
        yield f"| `{stage}` | {what} | {count} | {flops / 1e9:.3g} | {dtype} |"
    yield ""


def _growth(found: Result) -> Iterator[str]:
    if not found:
        return
    yield f"## Growth\n\nSeconds of whole processes unless said otherwise. {_circumstance(found)}.\n"
    stages = list(dict.fromkeys(name for point in found["points"] for name in point.get("stages", {})))
    yield f"| what | size | seconds | peak MB | {' | '.join(stages)} |\n|{'---|' * (4 + len(stages))}"
    for point in found["points"]:
        peak = f"{point['peak_mb']:.0f}" if "peak_mb" in point else ""
        cells = [f"{point['stages'][name]:.2f}" if name in point.get("stages", {}) else "" for name in stages]
        yield f"| {point['axis']} | {point['value']} | {point['seconds']:.1f} | {peak} | {' | '.join(cells)} |"
    yield ""


def _short(number: float) -> str:
    """Three digits, without an exponent."""
    digits = max(0, 2 - len(str(int(abs(number)))) + 1) if abs(number) >= 1 else 3
    return f"{number:.{digits}f}"
