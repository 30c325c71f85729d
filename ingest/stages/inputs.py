"""What a stage is given: the options, the model, the proven factors, and a place to have its work done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from eigenhouse.ingest import console, devices
from eigenhouse.ingest.stages.declaration import GATE
from eigenhouse.ingest.stages.factor_files import FactorFiles
from eigenhouse.ingest.stages.writer import Manifest
from eigenhouse.options import Ingest

if TYPE_CHECKING:
    from eigenhouse.ingest.capture.workbench import Workbench
    from eigenhouse.ingest.sources.prompts import PromptSet

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where the work of a stage runs. A function and its tasks can be pickled, so that they may go elsewhere."""

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The function of each task, in the order of the tasks; few of them are in memory at a time."""
        ...


@dataclass
class Inputs:
    """folder: where a stage of this run has its files · load: makes the workbench, which takes seconds and memory."""

    options: Ingest
    prompts: PromptSet
    engine: Engine
    folder: Callable[[str], Path]
    load: Callable[[], Workbench]

    @cached_property
    def bench(self) -> Workbench:
        return self.load()

    @cached_property
    def device(self) -> torch.device:
        """Where geometry is computed."""
        return devices.for_geometry(self.options.device)

    @cached_property
    def stacks(self) -> list[FactorFiles]:
        """The stacks that have proven factors."""
        folder = self.folder(GATE)
        return [FactorFiles(folder / stack.name, stack) for stack in Manifest.read(folder).stacks]

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], title: str, total: int | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """Each task with its result, in order, under a bar. total: how many there are, where tasks are no list."""
        given: list[Task] = []

        def taken() -> Iterator[Task]:
            for task in tasks:
                given.append(task)
                yield task

        n_tasks: Any = len(tasks) if total is None else total  # type: ignore[arg-type]
        with console.stage(title, n_tasks) as advance:
            for result in self.engine.map(function, taken()):
                yield given.pop(0), result
                advance(1)
