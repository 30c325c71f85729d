"""Charts rendered in processes of their own.

The compiled code that lays a chart out holds its process until it is done, and lets a signal wait for seconds; it lays
out one chart at a time. Processes are ended at once, and lay out as many charts as there are processes.
"""

import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection, Pipe

from eigenhouse import stopping
from eigenhouse.analyses import processes
from eigenhouse.analyses.charts.pictures import SUFFIXES, rendered, vega_lite_version
from eigenhouse.errors import EigenhouseError


class Renderers:
    """So many processes, each started when it is first needed. Use it as a context manager, from any threads."""

    def __init__(self, n: int = 1) -> None:
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        self._all = ExitStack()
        for _ in range(n):
            self._free.put(None)

    def rendered(self, text: str, suffixes: Sequence[str] = SUFFIXES) -> dict[str, bytes]:
        """As `pictures.rendered`. Raises EigenhouseError where the process ends over it."""
        child = self._free.get()
        try:
            child = child or self._all.enter_context(closing(_Child()))
            return child.rendered(text, suffixes)
        except BaseException:
            child = None
            raise
        finally:
            self._free.put(child)

    def __enter__(self) -> "Renderers":
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()


class _Child:
    def __init__(self) -> None:
        self._ours, theirs = Pipe()
        self._held = ExitStack()
        with theirs:
            self._process = self._held.enter_context(processes.started(__name__, theirs.fileno()))
        self._held.enter_context(stopping.child(self._process))

    def rendered(self, text: str, suffixes: Sequence[str]) -> dict[str, bytes]:
        try:
            self._ours.send((text, list(suffixes), vega_lite_version()))
            files: dict[str, bytes] = self._ours.recv()
        except (EOFError, OSError):
            raise EigenhouseError(_why(self._process)) from None
        return files

    def close(self) -> None:
        self._ours.close()
        self._held.close()


def _why(process: "subprocess.Popen[bytes]") -> str:
    _, said = process.communicate()
    lines = said.decode(errors="replace").strip().splitlines()
    ended = f"status {process.returncode}" if process.returncode >= 0 else signal.Signals(-process.returncode).name
    return f"a chart's process ended by {ended}: {lines[-1] if lines else 'out of memory?'}"


def main() -> None:
    """Render what comes through the pipe until its other end is closed. A signal of the terminal's is the caller's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as pipe:
        while True:
            try:
                asked = pipe.recv()
            except EOFError:
                return
            pipe.send(rendered(*asked))


if __name__ == "__main__":
    main()
