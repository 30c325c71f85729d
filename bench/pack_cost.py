"""What it costs to load packs, and whether the next costs more where many are there: one pack under as many names.

The files are links to those of one pack, so that a thousand take no room; each has a manifest of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from eigenhouse.ingest.packs import loading, manifest, travel
from eigenhouse.ingest.packs.loading import Outcome

Moment = tuple[float, float]  # seconds, and CPU seconds of all threads of this process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path, help="as `make ingest MODEL=… PACK=<folder>` makes one")
    parser.add_argument("--packs", type=int, default=300, help="how many are loaded")
    parser.add_argument("--part", type=int, default=100, help="how many of the first and of the last are compared")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.pack.parent) as folder:  # links don't leave a file system
        packs = [copied(arguments.pack, Path(folder), number) for number in range(arguments.packs)]
        moments, house = loaded(packs, Path(folder) / "warehouse.duckdb")
    for name, place in (("first", 0), ("last", len(packs) - arguments.part)):
        seconds, cpu = (
            (after - before) / arguments.part
            for before, after in zip(moments[place], moments[place + arguments.part], strict=True)
        )
        print(f"the {name} {arguments.part}: {seconds:.3f} s a pack, {cpu:.3f} s of CPU")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    seconds = moments[-1][0] - moments[0][0]
    print(f"all {len(packs)}: {seconds:.1f} s; {house / 2**20:.0f} MB on disk, {peak:.0f} MB in memory")


def copied(pack: Path, folder: Path, number: int) -> Path:
    """The pack as if it were of another model."""
    name = f"org/model-{number:04d}"
    path = folder / f"{number:04d}{travel.ENDING}"
    shutil.copytree(pack, path, copy_function=os.link)
    held = json.loads((path / manifest.NAME).read_text())
    held["model"] |= {"name": name, "revision": None, "checkpoint": name}
    held["model"] |= {"weights_sha256": hashlib.sha256(name.encode()).hexdigest()}
    (path / manifest.NAME).unlink()
    (path / manifest.NAME).write_text(manifest.sealed(held))
    return path


def loaded(packs: list[Path], house: Path) -> tuple[list[Moment], int]:
    """When the load began, and when each was in; the bytes of the warehouse."""
    moments = [_now()]

    def done(outcome: Outcome) -> None:
        assert outcome.outcome == loading.IN, outcome
        moments.append(_now())

    loading.load(house, packs, force=False, wait_seconds=1, say=print, done=done)
    return moments, house.stat().st_size


def _now() -> Moment:
    times = os.times()
    return time.perf_counter(), times.user + times.system


if __name__ == "__main__":
    main()
