"""The same rows on every device, and the seconds that each takes: one script for a machine with a GPU.

Makes a random checkpoint, 12 layers of Qwen3-4B's shape unless said otherwise, ingests it once on each device in a
process of its own, static pass and text, prints each stage's seconds, and compares every table of the warehouses.
`python -m bench.device` takes some minutes; without a GPU, --devices cpu,cpu tries the script itself. Ends with an
error where a column differs by more than bench/same_rows.py allows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench import machine, random_checkpoint
from bench.processes import ROOT, Ingested, ingested
from bench.random_checkpoint import SHAPES, Shape
from bench.rows.row import NotRun
from bench.same_rows import compared

Measure = Callable[[str, str, Path], Ingested]  # of a checkpoint, on a device, into a warehouse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="cuda,cpu", help="a list; each is compared with the one before it")
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--no-weights", action="store_true", help="leave out the spectra of whole matrices")
    arguments = parser.parse_args()
    print(machine.name(), flush=True)
    options = ["--no-weights"] if arguments.no_weights else []
    shape = SHAPES[arguments.shape].deep(arguments.layers)
    with tempfile.TemporaryDirectory() as folder:
        try:
            is_same = run(Path(folder), shape, arguments.devices.split(","), partial(_measure, options))
        except NotRun as why:
            sys.exit(f"error: {why}")
    sys.exit(0 if is_same else "error: the devices measure different numbers")


def run(folder: Path, shape: Shape, devices: list[str], measure: Measure) -> bool:
    """Whether all devices fill the tables alike. Prints as it goes."""
    model = str(random_checkpoint.write(folder / "checkpoint", shape))
    print(shape, flush=True)
    houses = [folder / f"{number}-{device.replace(':', '-')}.duckdb" for number, device in enumerate(devices)]
    for device, house in zip(devices, houses, strict=True):
        found = measure(model, device, house)
        stages = "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in found.stages.items())
        print(f"{device:8} {found.seconds:7.1f} s  {found.peak_mb:7.0f} MB   {stages}", flush=True)
    alike = [_alike(one, other) for one, other in pairwise(houses)]
    return all(alike)


def _measure(options: list[str], model: str, device: str, house: Path) -> Ingested:
    return ingested(ROOT, model, "--device", device, *options, warehouse=house)


def _alike(one: Path, other: Path) -> bool:
    print(f"{one.stem} and {other.stem}: the largest difference of each column, and what it may be")
    found = list(compared(one, other))
    for each in found:
        if each.difference or not each.is_same:
            mark = "" if each.is_same else "   TOO LARGE"
            name = f"{each.table}.{each.column}"
            print(f"  {name:48} {each.difference:.1e} of {each.n_rows} rows, at most {each.tolerance:.0e}{mark}")
    n_equal = sum(each.difference == 0 for each in found)
    print(f"  {n_equal} other columns are equal", flush=True)
    return all(each.is_same for each in found)


if __name__ == "__main__":
    main()
