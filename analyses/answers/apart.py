"""A question asked in a process of its own: where that takes too long, too much or crashes, its caller says so."""

import codecs
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from typing import BinaryIO

from eigenhouse import stopping
from eigenhouse.analyses import processes
from eigenhouse.analyses.answers import question
from eigenhouse.analyses.answers.question import Question
from eigenhouse.errors import EigenhouseError
from eigenhouse.visible import visible

SECONDS = 600.0
LINES = ("csv", "json")  # forms that are text as it is, whatever a terminal makes of it
THROWN = re.compile(r'"exception_message":"((?:[^"\\]|\\.)*)"')


def answer(asked: Question, file: BinaryIO, seconds: float = SECONDS) -> None:
    """Write the answer into the file. Raises EigenhouseError, when a part of it may be there already.

    seconds: how long the answer may be waited for, 0 for as long as it takes; neither another process that holds the
    warehouse nor a slow reader of the file counts.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for part in parts(asked, seconds):
        shown = asked.is_terminal and asked.form in LINES
        file.write(visible(decoder.decode(part)).encode() if shown else part)


def parts(asked: Question, seconds: float) -> Iterator[bytes]:
    """The answer as it comes; its process has ended when this does."""
    ours, theirs = Pipe(duplex=False)
    with ours:
        with theirs:
            process = _started(theirs)
        with stopping.child(process):
            try:
                assert process.stdin
                with contextlib.suppress(BrokenPipeError):  # it is gone, and what it said comes next
                    process.stdin.write(asked.line())
                    process.stdin.flush()
                yield from _received(ours, process, seconds)
            finally:
                process.kill()
                with contextlib.suppress(BrokenPipeError):
                    process.communicate()
                if process.returncode:
                    shutil.rmtree(question.spilled(process.pid), ignore_errors=True)


def _started(theirs: Connection) -> "subprocess.Popen[bytes]":
    size = {} if os.environ.get("COLUMNS") or not sys.stdout.isatty() else {"COLUMNS": str(_columns())}
    return processes.started("eigenhouse.analyses.answers.answering", theirs.fileno(), subprocess.PIPE, **size)


def _columns() -> int:
    return os.get_terminal_size(sys.stdout.fileno()).columns or 80


def _received(ours: Connection, process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[bytes]:
    left: float | None = None  # the clock starts when the warehouse is open
    while True:
        start = time.monotonic()
        if not ours.poll(left):
            raise EigenhouseError(
                f"no answer after {seconds:g} s of waiting; TIMEOUT=<seconds> gives it longer, 0 as long as it takes"
            )
        if left is not None:
            left = max(left - (time.monotonic() - start), 0)
        try:
            message = ours.recv_bytes()
        except EOFError:
            raise _end(process) from None
        kind, body = message[:1], message[1:]
        if kind == question.ANSWER:
            yield body
        elif kind == question.NOTE:
            print(visible(body.decode()), file=sys.stderr, flush=True)
        elif kind == question.OPENED:
            left = seconds or None
        elif kind == question.REFUSED:
            raise EigenhouseError(body.decode())
        else:
            return


def _end(process: "subprocess.Popen[bytes]") -> Exception:
    """Why the process ended without a last word: a crash of DuckDB is a refusal, one of ours keeps its traceback."""
    _, said = process.communicate()
    text = said.decode(errors="replace").strip()
    if process.returncode >= 0:
        return RuntimeError(f"the process of the question failed:\n{text}")
    name = signal.Signals(-process.returncode).name
    cause = "out of memory?" if name == "SIGKILL" else text.splitlines()[-1] if text else "DuckDB crashed"
    if thrown := THROWN.search(text):
        cause = thrown[1].replace('\\"', '"')
    return EigenhouseError(f"the question ended its own process by {name}: {cause}; nothing is lost")
