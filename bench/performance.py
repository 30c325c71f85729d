"""What `make bench` runs: each row a ratio of two things measured in one run, kept in bench/results.json.

docs/performance.md is written anew from that file. REV=<revision> (--rev) is the one that the program is measured
beside. --rows measures a few, also those that are left out unasked since they take long; --growth how seconds grow with
layers, heads, hidden size, models and tokens; --page writes the page and measures nothing; --short makes every row of
tiny shapes, in seconds, and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import growth, machine, page, revision
from bench.rows import attention, decompositions, load, memory, models, static_pass
from bench.rows.row import NotRun, Row
from bench.setting import Setting, Short
from eigenhouse.options import Bench
from eigenhouse.variables import OURS

ROWS: dict[str, Row] = {
    row.name: row
    for module in (static_pass, decompositions, attention, models, memory, load)
    for row in module.ROWS
}  # fmt: skip


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # processes and worktrees are cleared away on the way out
    results, failed = page.results(), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setting = stack.enter_context(
            Short(folder) if arguments.short else Setting(folder, arguments.rev, arguments.layers)
        )
        if arguments.growth:
            results["growth"] = {"points": list(growth.points(setting)), **_circumstances(setting)}
            page.keep(results)
        elif not arguments.page:
            for name, result in measured(setting, _asked(arguments.rows)):
                results["rows"][name] = result
                failed += [name] if "failed" in result.get("not_run", "") else []
                if not arguments.short:
                    page.keep(results)  # after each: minutes lie behind it
    if not arguments.short:
        page.PAGE.write_text(page.page(results), encoding="utf-8")
        print(page.PAGE.relative_to(revision.ROOT))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def measured(setting: Setting, rows: Iterable[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row's result; of one that can't be measured here, why."""
    for row in rows:
        started = time.monotonic()
        try:
            result = row.result(row.measure(setting))
        except NotRun as why:
            result = row.told() | {"not_run": str(why)}
        result |= _circumstances(setting) | {"took": round(time.monotonic() - started, 1)}
        print(_line(row, result), flush=True)
        yield row.name, result


def _circumstances(setting: Setting) -> dict[str, str]:
    """What a number holds for."""
    return {
        "machine": machine.name(),
        "measured_at": time.strftime("%Y-%m-%d"),
        "code": revision.name_of(),
        "revision": setting.rev,
    }


def _line(row: Row, result: dict[str, Any]) -> str:
    if "not_run" in result:
        return f"{row.name:22} not run: {result['not_run']}"
    values = f"{result['ours']:10.3f} {result['theirs']:10.3f} {result['unit']:4}"
    return f"{row.name:22} {values} {result['ratio']:8.2f}× (want {row.reach}) in {result['took']} s"


def _asked(names: str) -> list[Row]:
    """Raises SystemExit for a name that there isn't."""
    if not names:
        return [row for row in ROWS.values() if not row.is_long]
    if unknown := [name for name in names.split(",") if name not in ROWS]:
        sys.exit(f"error: no row {unknown[0]}; there are {', '.join(ROWS)}")
    return [ROWS[name] for name in names.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    rev = os.environ.get(f"{OURS}REV") or Bench().rev
    parser.add_argument("--rev", default=rev, help="the revision to compare with")
    parser.add_argument("--layers", type=int, default=3, help="of the main shape; 36 is Qwen3-4B's own number")
    parser.add_argument("--rows", default="", help=f"a list of {', '.join(ROWS)}")
    parser.add_argument("--growth", action="store_true", help="measure the growth table, and no row")
    parser.add_argument("--page", action="store_true", help="write the page of what was measured before")
    parser.add_argument("--short", action="store_true", help="tiny shapes, nothing kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
