"""The process of a question: opens the warehouse, asks, and sends the answer as it comes; see apart.py, its caller.

The question is a line on standard input, which then stays open as long as the caller lives. Messages go to the pipe
whose number is on the command line, and not to standard output, where DuckDB itself may write.
"""

import io
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

from eigenhouse.analyses.answers import asking, formats, lockdown, question, tables
from eigenhouse.analyses.answers.question import Question
from eigenhouse.errors import EigenhouseError

WRITERS = {
    "table": tables.write_table,
    "csv": formats.write_csv,
    "json": formats.write_json,
    "parquet": formats.write_parquet,
    "npy": formats.write_npy,
    question.ARROW: formats.write_arrow,
}
AT_ONCE = 1 << 16  # bytes of a message
MOST_MEMORY = 0.8  # of the machine's, for the process as a whole


class Messages(io.RawIOBase):
    """The pipe to the caller as the file that an answer is written into."""

    def __init__(self, pipe: Connection, is_terminal: bool) -> None:
        self.pipe, self.is_terminal = pipe, is_terminal

    def write(self, data: Any) -> int:
        self.pipe.send_bytes(question.ANSWER + bytes(data))
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.is_terminal


def answer(asked: Question, file: BinaryIO, say: Callable[[str], None], opened: Callable[[], None]) -> None:
    """Ask, and write what comes back; `opened` is called when no other process is waited for any more."""
    files = [Path(path) for path in asked.files]
    exact = not asking.routine_of(asked.sql)  # a routine's frame is polars', which doesn't know DuckDB's own types
    with lockdown.asking(Path(asked.warehouse), files=files, exact=exact, is_locked=not asked.acts, say=say) as con:
        opened()
        given = asked.parameters
        given = asking.of_own(con, asked.sql, given) if asked.is_own else asking.with_models(con, given)
        asking.ask(con, asked.sql, given, acts=asked.acts)
        with asking.explained(con):
            WRITERS[asked.form](con, file)


def main(pipe: Connection) -> None:
    asked = question.read(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    _bound()

    def send(kind: bytes, text: str = "") -> None:
        pipe.send_bytes(kind + text.encode(errors="backslashreplace"))

    try:
        with io.BufferedWriter(Messages(pipe, asked.is_terminal), AT_ONCE) as file:
            answer(asked, file, lambda line: send(question.NOTE, line), lambda: send(question.OPENED))
        send(question.DONE)
    except EigenhouseError as error:
        send(question.REFUSED, str(error))
    except MemoryError:
        send(question.REFUSED, "the answer needs more memory than there is; ask for fewer rows or columns")


def _bound() -> None:
    """No picture of memory where DuckDB crashes; and Python, whose own memory has no limit, ends before the machine."""
    most = int(MOST_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_DATA, most)):
        hardest = resource.getrlimit(kind)[1]
        within = limit if hardest == resource.RLIM_INFINITY else min(limit, hardest)
        resource.setrlimit(kind, (within, within))


def _end_with_the_caller() -> None:
    """Whatever ended it, the question ends too: nobody is left to hear the answer."""
    try:
        sys.stdin.buffer.read()
        shutil.rmtree(question.spilled(os.getpid()), ignore_errors=True)
    finally:  # a cache that can't be found any more must not keep it
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both, and the caller says what becomes of this one
    with Connection(int(sys.argv[1]), readable=False) as _pipe:
        main(_pipe)
    os._exit(0)  # the answer is there: what is left can go without being taken apart
