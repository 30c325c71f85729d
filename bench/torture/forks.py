"""Processes forked from this one, warm: what it has imported is there, so that an ingest of a tiny model takes no time.

This process itself must neither open a database nor compute anything: threads don't survive a fork.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eigenhouse import __main__ as command_line
from eigenhouse import stopping

FAILED = 70
MODULES = "\nmodules:\n"


@dataclass(frozen=True)
class Child:
    """said: the file of what it prints · ready: a pipe from it, for what its work tells on the way."""

    pid: int
    said: Path
    ready: int

    def waits_for(self, word: bytes) -> bool:
        """Whether the child came there; False where it ended before."""
        while word not in (found := os.read(self.ready, 1)) and found:
            pass
        return bool(found)

    def wait(self) -> int:
        """Its status as Popen gives it: negative for a signal."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.ready)
        return status

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")


def fork(work: Callable[[Callable[[bytes], object]], object], said: Path) -> Child:
    """Run it in a child, which it may tell `ready` words of one byte."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, said, reader)
    status = FAILED
    try:
        os.close(reader)
        out = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        work(lambda word: os.write(writer, word))
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(status)


def program(*words: object) -> Callable[[Callable[[bytes], object]], None]:
    """The command line in a child; it says `s` once signals are looked after."""

    def work(ready: Callable[[bytes], object]) -> None:
        stopping.watch()
        ready(b"s")
        sys.argv = ["eigenhouse", *map(str, words)]
        command_line.main()

    return work


def warm_up(work: Callable[[], object], said: Path) -> None:
    """Import what the work imports when it is due: a child does it once and tells. Raises where it fails."""

    def telling(_: object) -> None:
        before = {*sys.modules}
        try:
            work()
        finally:
            told = "\n".join(name for name in sys.modules if name not in before)
            os.write(1, f"{MODULES}{told}".encode())

    child = fork(telling, said)
    if child.wait():
        raise RuntimeError(child.text)
    for name in child.text.rpartition(MODULES)[2].split("\n"):
        with suppress(ImportError):  # what a library makes up has no file
            importlib.import_module(name)
