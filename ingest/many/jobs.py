"""Processes side by side, one a model, each with its share of the cores: how each of them ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import eigenhouse
from eigenhouse import stopping
from eigenhouse.ingest.many import one
from eigenhouse.ingest.many.listed import Line

LOOK_SECONDS = 0.05
TAIL_BYTES = 4000
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class End:
    """pack: what is to be loaded, None where nothing was due · why: it failed, '' where it did not."""

    line: Line
    pack: Path | None
    why: str
    seconds: float


class Job:
    """A model's process; what it says goes to files that nobody has to read while it runs."""

    def __init__(self, line: Line, folder: Path, threads: int, opened: ExitStack) -> None:
        self.line, self.started_at = line, time.monotonic()
        self.out, self.err = (opened.enter_context(_scratch()) for _ in range(2))
        self.process = opened.enter_context(stopping.child(_started(self.out, self.err, threads)))
        self.opened = opened
        assert self.process.stdin
        opened.callback(_shut, self.process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it is gone, and how it ended is told below
            self.process.stdin.write(one.line(line.options, folder))
            self.process.stdin.flush()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_at

    def end(self, timeout: float) -> End | None:
        """How it ended; None while it runs."""
        status = self.process.poll()
        if status is None and not (timeout and self.seconds > timeout):
            return None
        seconds = round(self.seconds, 1)
        said = self._said(self.out)
        why = _why(status, self._said(self.err), timeout)
        pack = Path(said.removeprefix(one.PACKED).strip()) if said.startswith(one.PACKED) else None
        self.opened.close()
        return End(self.line, None if why else pack, why, seconds)

    def _said(self, file: IO[bytes]) -> str:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def run(lines: list[Line], folder: Path, n_jobs: int, timeout: float) -> Iterator[list[End]]:
    """Those that ended since, as soon as there are any; no more than n_jobs run at once."""
    waiting, running = deque(lines), list[Job]()
    threads = max(1, (os.cpu_count() or 1) // n_jobs)
    with ExitStack() as opened:
        while waiting or running:
            while waiting and len(running) < n_jobs:
                running.append(Job(waiting.popleft(), folder, threads, opened.enter_context(ExitStack())))
            ended = {job: end for job in running if (end := job.end(timeout))}
            running = [job for job in running if job not in ended]
            if ended:
                yield list(ended.values())
            else:
                time.sleep(LOOK_SECONDS)


def _shut(stream: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


@contextlib.contextmanager
def _scratch() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def _started(out: IO[bytes], err: IO[bytes], threads: int) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C is this process's to answer. -P: no file of the working folder is a library."""
    root = str(Path(eigenhouse.__file__).parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    shares = {name: str(threads) for name in THREADS if name not in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "eigenhouse.ingest.many.one"],
        stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path} | shares,
    )  # fmt: skip


def _why(status: int | None, said: str, timeout: float) -> str:
    if status == 0:
        return ""
    if status is None:
        return f"no end after {timeout:g} s; TIMEOUT=<seconds> gives it longer, 0 as long as it takes"
    lines = [line for line in said.splitlines() if line.strip()]
    if status > 0:
        refused = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        told = " ".join(lines[refused[-1] :]).removeprefix("error: ") if refused else " ".join(lines[-1:])
        return told or f"it ended with status {status} and said nothing"
    name = signal.Signals(-status).name
    return f"its process was ended by {name} ({'out of memory?' if name == 'SIGKILL' else 'a crash'})"
