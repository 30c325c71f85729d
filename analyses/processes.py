"""Another process of this Python and this program, for work that its caller must be able to end at once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import eigenhouse


def started(module: str, pipe: int, stdin: Any = subprocess.DEVNULL, **environment: str) -> "subprocess.Popen[bytes]":
    """A module of the program, which is handed the number of its end of a pipe; what it says on standard error is kept.

    -P: a file of the working folder that is named as a library is not taken for it.
    """
    root = str(Path(eigenhouse.__file__).parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(pipe)],
        stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[pipe],
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip
