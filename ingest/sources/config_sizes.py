"""A config beside the headers of its weights, before anything is built: counts that such files can't fill."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError, shortened

LAYERS = re.compile(r"(^|_)(layers?|depths?|blocks|stages|repeats)$")
EXPERTS = re.compile(r"(^|_)experts$")
UNBOUNDED = re.compile(r"limit|max|min|clip|clamp|range")  # some models have no limit, and say so by infinity
SHARED = 256  # layers or experts that may share their weights: as many modules are soon built
IN_A_LIST = 10**7  # token ids, sizes of images: larger numbers in lists are counts of something that is made
LARGEST = 2**53  # what JSON's other readers hold exactly; no size or base of a rotation comes near


def check(path: Path, config: dict[str, Any], n_tensors: int, largest: int) -> None:
    """Raises EigenhouseError for numbers that can't be meant beside weights of so many tensors.

    largest: the largest axis of any of them; stacked experts are one tensor.
    """
    named = config.get("architectures")
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        raise EigenhouseError(f"wanted a list of names as architectures in {path}; got {shortened(repr(named), 60)}")
    most_layers = max(SHARED, n_tensors)
    for field, number, is_listed in _numbers(config):
        own, cause = field.rpartition(".")[2], "damaged, or made to harm?"
        most: float = IN_A_LIST if is_listed else LARGEST
        if LAYERS.search(own):
            most = most_layers
        elif EXPERTS.search(own):
            most = max(most_layers, largest)
        if most < LARGEST:
            cause = f"its weights are {n_tensors:,} tensors"
        if isinstance(number, float) and (math.isnan(number) or (math.isinf(number) and not UNBOUNDED.search(own))):
            raise EigenhouseError(f"wanted a number as {field} in {path}; got {number} ({cause})")
        if isinstance(number, int) and abs(number) > most:
            came = shortened(str(number), 40)  # JSON's own limit is 4,300 digits
            raise EigenhouseError(f"wanted at most {most:,} as {field} in {path}; got {came} ({cause})")


def _numbers(value: Any, field: str = "", is_listed: bool = False) -> Iterator[tuple[str, int | float, bool]]:
    """Every number of a config, lengths of lists too: the path of its field, and whether it belongs to a list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        yield field, len(value), True
        for inner in value:
            yield from _numbers(inner, field, True)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield field, value, is_listed
