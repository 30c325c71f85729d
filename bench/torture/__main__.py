"""`make torture`: every row's long form, or --short, and the figures in bench/torture.json and docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from bench import machine, revision
from bench.processes import ROOT
from bench.torture import page

ALONE = ("stops",)  # seconds to the end are counted
LANES = (("kills",), ("fuzz",), ("disks", "inputs", "crowd"))  # side by side, each lane's rows one after the other
NAMES = (*ALONE, *(name for lane in LANES for name in lane))
KEEPING = Lock()


def main() -> None:
    arguments = _arguments()
    if arguments.page:
        page.keep(page.results())
        return
    wanted = arguments.rows.split(",")
    lanes = [[name for name in lane if name in wanted] for lane in LANES]
    failed = [_measured(name, arguments.short) for name in ALONE if name in wanted]
    with ThreadPoolExecutor(len(LANES)) as pool:
        for found in pool.map(lambda lane: [_measured(name, arguments.short) for name in lane], lanes):
            failed += found
    sys.exit(any(failed))


def _measured(name: str, is_short: bool) -> bool:
    """Whether it failed; what came of it is printed, and kept at once: minutes lie behind it."""
    started = time.monotonic()
    result = _row(name, is_short) | {"machine": machine.name(), "code": revision.name_of()}
    result |= {"took": round(time.monotonic() - started), "measured_at": time.strftime("%Y-%m-%d")}
    if "failures" in result:  # where the house stands is nobody's business
        result["failures"] = [each.replace(f"{ROOT}/", "") for each in result["failures"]]
    with KEEPING:
        print(f"{name}: {page.line(name, result)}", *result.get("failures", ()), sep="\n", flush=True)
        if not is_short:
            page.keep(page.results() | {name: result})
    return bool(result.get("failures"))


def _row(name: str, is_short: bool) -> dict[str, Any]:
    words = [sys.executable, "-m", "bench.torture.rows", name, *(["short"] if is_short else [])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} could not be tried:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.torture", description=__doc__)
    parser.add_argument("--rows", default=",".join(NAMES), help=f"a list of {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="a few of each, nothing kept")
    parser.add_argument("--page", action="store_true", help="write the figures that were measured before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
