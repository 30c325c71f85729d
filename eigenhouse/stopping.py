"""Ctrl-C and SIGTERM: whatever a command does, it ends within two seconds, with one line that says what is kept.

The signal raises Stop in the main thread, so that files are closed and temporary folders go. Compiled code may hold
that thread for as long as it likes. So a second thread ends the children at once, and after a grace the process itself:
as by `kill -9`, which a warehouse survives.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache

TYPE_CHECKING = False  # typing takes as long to import as all of this
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 1.0  # seconds from the signal to the end of what doesn't end by itself
AGAIN = 0.3  # seconds after which another signal is a user's, not the same one that make and `timeout` hand on too
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it

_asked: int | None = None
_is_raised = False
_kept = "stopped"
_children: set[subprocess.Popen[Any]] = set()
_ending = threading.Lock()


class Stop(BaseException):
    """A signal asks the command to end. No Exception, so that no library takes it for an error of its own."""


@cache
def watch() -> None:
    """From here on a signal ends this process; one that was ignored before, as by nohup, still is."""
    for number in range(3):  # a pipe that is opened must not take the place of a closed stream, nor may a file
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)
    tell = sys.excepthook
    sys.excepthook = lambda *error: end() if is_asked() else tell(*error)
    os.register_at_fork(after_in_child=_forget)
    atexit.register(_be_over)
    threading.Thread(target=_wait, args=(reader,), name="stopping", daemon=True).start()


def is_asked() -> bool:
    """Whether a signal came: what fails from then on fails for that, and nothing but the line is to be said."""
    return _asked is not None


def kept(line: str) -> None:
    """What is said from now on where the command is stopped."""
    global _kept
    _kept = line


@contextmanager
def in_doubt(line: str) -> Iterator[None]:
    """What is said instead while the block runs, and if it is where a signal comes."""
    before = _kept
    kept(line)
    yield
    kept(before)


@contextmanager
def child(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """A process that never outlives the block, nor a signal to this one. It keeps nothing: it's killed."""
    _children.add(process)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        _children.discard(process)


def end() -> None:
    """Say the line and leave, with 130 for Ctrl-C and 143 for SIGTERM, whatever other threads are at."""
    if not _ending.acquire(blocking=False):  # another thread does
        return
    line = f"\n{SHOW_CURSOR}{_kept}\n" if os.isatty(2) else f"{_kept}\n"
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:  # a reader that reads no more can't hold the process
            os.write(2, line.encode(errors="replace"))
    os._exit(128 + (_asked or signal.SIGINT))


def _raise(number: int, _frame: Any) -> None:
    global _asked, _is_raised
    _asked = _asked or number
    if not _is_raised:
        _is_raised = True
        raise Stop


def _wait(reader: int) -> None:
    global _asked
    while (number := os.read(reader, 1)[0]) not in SIGNALS:
        pass
    _asked, asked_at = _asked or number, time.monotonic()
    for process in tuple(_children):
        process.kill()
    while (left := asked_at + GRACE - time.monotonic()) > 0:
        is_another = select.select([reader], [], [], left)[0] and os.read(reader, 1)[0] in SIGNALS
        if is_another and time.monotonic() > asked_at + AGAIN:
            break
    end()


def _be_over() -> None:
    """All is done and said: a signal while Python takes itself apart, without handlers, must not look like a fault."""
    for number in SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_IGN)


def _forget() -> None:
    """A forked child is ended by its parent, or by the signal itself; it shares the pipe, which is the parent's."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)
    _children.clear()
