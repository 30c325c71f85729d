"""What every command does around its work: output that may end early or be lost, options that are text and taken."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO

import typer
from typer.core import TyperCommand

from eigenhouse import stopping
from eigenhouse.errors import EigenhouseError, not_installed, refusal
from eigenhouse.variables import OURS, refuse_untaken


class Stream(io.RawIOBase):
    """Standard output or error. What is written after a failure goes nowhere, except that an answer ends with it.

    Nor does what is written after a signal: what fails then is no news.
    """

    def __init__(self, number: int) -> None:
        self.number, self.is_answer = number, False
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        if stopping.is_asked():
            return memoryview(data).nbytes
        if self.failure is None:
            try:
                return os.write(self.number, data)
            except OSError as error:
                self.failure = error
        if self.is_answer:
            raise self.failure
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def isatty(self) -> bool:
        return os.isatty(self.number)

    @property
    def lost(self) -> str:
        """Why something that was meant to be read is lost; '' where a reader had enough."""
        if self.failure is None or self.failure.errno == errno.EPIPE:
            return ""
        return "it is closed" if self.failure.errno == errno.EBADF else str(self.failure.strerror)


def run(command: Callable[[], Any]) -> None:
    """The command as a process: a reader that closes early ends it quietly, output that is lost gives status 1."""
    # torch does what is large; numpy's threads would wait for one another wherever cores are shared
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    stopping.watch()
    out, err = Stream(1), Stream(2)
    encoding = getattr(sys.stdout or sys.stderr, "encoding", None) or "utf-8"
    errors = getattr(sys.stdout, "errors", None) or "strict"
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(out), encoding, errors, line_buffering=out.isatty())
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(err), encoding, "backslashreplace", line_buffering=True)
    status: Any = 0
    try:
        command()
    except SystemExit as ending:
        status = ending.code or 0
    finally:
        if stopping.is_asked():
            stopping.end()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:  # an answer that failed closes it
            stream.flush()
    if out.lost:
        print(f"error: cannot write to standard output: {out.lost}", file=sys.stderr)
    if out.lost or (err.lost and err.failure and err.failure.errno != errno.EBADF):
        status = status or 1
    sys.exit(status)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Standard output for an answer, which is at its end where that can't be written on; `run` says why."""
    raw = getattr(sys.stdout.buffer, "raw", None)
    stream = raw if isinstance(raw, Stream) else Stream(1)
    stream.is_answer = True
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        if error is not stream.failure:
            raise
    finally:
        stream.is_answer = False


class Command(TyperCommand):
    """A command that refuses what it was handed over and can't use, in a line, and whatever its work refuses."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = {str(option.envvar): os.environ.get(str(option.envvar), "") for option in self.params}
        with _refusals():
            for name, text in given.items():
                _want_utf8(name.removeprefix(OURS), text)
            for before, text in pairwise(["", *args]):
                _want_utf8(before if before.startswith("--") else "the command line", text)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _refusals():
            refuse_untaken(str(self.name), os.environ)
            return super().invoke(ctx)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        try:
            yield
        except ModuleNotFoundError as error:  # what only some work needs is imported when it is due
            if not error.name or error.name.startswith("eigenhouse"):
                raise
            raise not_installed(error.name) from error
    except EigenhouseError as error:
        print(f"error: {refusal(error)}", file=sys.stderr)
        raise typer.Exit(1) from error


def _want_utf8(name: str, text: str) -> None:
    """Python keeps bytes that are no UTF-8 as halves of surrogate pairs, which neither DuckDB nor a terminal takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        came = f"the byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "half a surrogate pair"
        raise EigenhouseError(
            f"want UTF-8 text for {name}, got {came} at character {error.start + 1} "
            "(typed or named in another encoding, as Latin-1?)"
        ) from None
