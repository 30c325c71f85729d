"""A bad input tried: the command in a process of its own, with limits, and what came of it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.bad_inputs.case import Case

MOST_SECONDS, MOST_WAITED, MOST_BYTES = 20, 120.0, 1_500_000_000  # of a processor, and on the clock
PRELOADED = ("eigenhouse.__main__", "eigenhouse.ingest.command", "eigenhouse.ingest.capture.workbench",
             "eigenhouse.ingest.stages.factors", "eigenhouse.ingest.exchange.imports", "gguf", "duckdb",
             "transformers.models.llama.modeling_llama")  # fmt: skip
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Outcome:
    """said: all that was printed · status: None where the time was up · peak_mb: with the imports."""

    said: str
    status: int | None
    seconds: float
    peak_mb: float
    has_run_code: bool = False

    @property
    def line(self) -> str:
        """The refusal: what follows from the line that begins with error; without one the end of what was said."""
        found = re.search(r"^error: .*", self.said, re.MULTILINE | re.DOTALL)
        return found[0].strip() if found else self.said.strip()[-400:]

    def fault(self, case: Case) -> str:
        """What is wrong with how the case ended; '' where nothing is."""
        if self.status is None:
            return f"no end after {MOST_SECONDS:g} s"
        if self.has_run_code:
            return "code of the input was run"
        if "Traceback" in self.said or self.status < 0 or self.status > 1:
            return f"no refusal, but status {self.status}"
        if found := CONTROL.search(self.said):
            return f"a control character, {found[0]!r}"
        if case.is_read:
            return f"status {self.status}" if self.status else ""
        if self.status == 0:
            return "read, as if nothing were wrong"
        if not self.line.startswith("error: ") or self.line.count("\n") > 1 or len(self.line) > 1000:
            return "not one or two lines"
        return next((f"says nothing of {word!r}" for word in case.says if word not in self.line), "")


def preload() -> None:
    """Import what an ingest imports, once: the processes of all cases are copies of this one."""
    for name in PRELOADED:
        import_module(name)


def tried(case: Case, warehouse: Path) -> Outcome:
    """The case in a copy of this process. warehouse: an empty one, which is copied."""
    folder = Path(tempfile.mkdtemp(prefix="bad-input-"))
    try:
        said = folder / "said"
        process = os.fork()
        if process == 0:
            _child(case, folder, warehouse, said)
        status, seconds, usage = _waited(process)
        text = said.read_text(errors="backslashreplace") if said.exists() else ""
        return Outcome(text, status, seconds, usage.ru_maxrss / 1024, (folder / "in" / "ran").exists())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(case: Case, folder: Path, warehouse: Path, said: Path) -> None:
    status = 70
    try:
        (folder / "in").mkdir()
        words = case.make(folder / "in")
        if "--warehouse" not in words:
            words = [*words, "--warehouse", str(shutil.copy(warehouse, folder / "warehouse.duckdb"))]
        os.environ["EIGENHOUSE_CACHE"] = str(folder / "cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        opened = os.open(said, os.O_WRONLY | os.O_CREAT)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0), os.dup2(opened, 1), os.dup2(opened, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        sys.argv = ["eigenhouse", "ingest", *words]
        import_module("eigenhouse.__main__").main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        os._exit(status)


def _waited(process: int) -> tuple[int | None, float, resource.struct_rusage]:
    started = time.monotonic()
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        seconds = time.monotonic() - started
        if ended:
            status = os.waitstatus_to_exitcode(status)
            return None if status in (-signal.SIGXCPU, -signal.SIGKILL) else status, seconds, usage
        if seconds > MOST_WAITED:
            os.kill(process, signal.SIGKILL)
            _, _, usage = os.wait4(process, 0)
            return None, seconds, usage
        time.sleep(0.005)
