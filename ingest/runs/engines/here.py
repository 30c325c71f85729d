"""In this process, one task after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def map(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    return (function(task) for task in tasks)
