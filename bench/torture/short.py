"""A few of each on one warehouse, for `make test`: a full disk, kills, a crowd. Prints what came of it as JSON."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.torture import crowd, disks, kills
from bench.torture.subject import Subject


def main(has_disk: bool) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored, and children inherit that
    with ExitStack() as stack:
        disk = stack.enter_context(disks.small_disk()) if has_disk else None
        folder = disk.parent if disk else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subject = Subject(folder / "subject", disk)
        full = [*disks.filled(subject, disk, "load", 1)] if disk else []
        killer = kills.Killer(subject, 7)
        hits = [killer.kill("load", "SIGKILL")]
        killer.leave_alone()
        crowded = crowd.run(subject, 1, 1)
    left = [hit and hit.left for hit in hits]
    print(json.dumps({"full": [status for _, status in full], "left": left, "crowd": crowded}))


if __name__ == "__main__":
    main(sys.argv[1:] == ["disk"])
