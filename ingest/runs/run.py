"""One ingest from MODEL to a pack of measurements, and on to committed rows: what is due, staged stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.packs import travel
from eigenhouse.ingest.packs.pack import Pack
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.runs.plan import Plan
from eigenhouse.ingest.runs.provenance import run_columns
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.prompts import STANDARD, read_prompts
from eigenhouse.ingest.sources.source import revision_order, weights_sha256
from eigenhouse.ingest.stages.declaration import GATE, Stage, declared
from eigenhouse.ingest.warehouse import backend, store
from eigenhouse.options import Ingest

if TYPE_CHECKING:
    from eigenhouse.ingest.capture.workbench import Workbench
    from eigenhouse.ingest.runs.folder import RunFolder
    from eigenhouse.ingest.stages.writer import Manifest


def ingest(options: Ingest) -> dict[str, int]:
    """Rows written by table; empty where everything asked for was in the warehouse already."""
    started_at = datetime.now(UTC)
    options.check()
    backend.of(options.warehouse).want_place(options.warehouse)
    if not options.force:
        store.want_whole(options.warehouse)
    plan = planned(options)
    if options.force:
        store.want_whole(options.warehouse, plan.source.model_id, wait_seconds=options.wait)
    due = plan.due()
    if not due:
        console.say(f"{plan.source.model_id} is already ingested: same weights and options. FORCE=1 measures it again")
        return {}
    with measured(plan, due, started_at) as run:
        return run.load(due)


def pack(options: Ingest, folder: Path, is_due_alone: bool = False) -> Path | None:
    """The pack of these measurements in the folder, made where there is none.

    is_due_alone: of what the warehouse lacks, None where that is nothing; else no warehouse is looked at.
    """
    started_at = datetime.now(UTC)
    options.check()
    plan = planned(options)
    stages = plan.due() if is_due_alone else plan.wanted
    if not stages:
        return None
    path = folder / travel.name(plan.source.model_id, plan.weights, [plan.mark(stage) for stage in stages])
    if travel.is_there(path) and not options.force:
        console.say(f"{path} is there already: same weights and options. FORCE=1 measures them again")
        return path
    travel.want_place(folder)
    with measured(plan, stages, started_at, options.wait) as run:
        run.write(stages, path)
    return path


def planned(options: Ingest) -> Plan:
    if options.operator:
        raise EigenhouseError(f"OPERATOR goes with a measurement .json; got OPERATOR={options.operator} for a model")
    prompts = read_prompts(options.prompts or STANDARD)
    source = resolve(
        options.model,
        revision=options.revision,
        name=options.name,
        trust_remote_code=options.trust_remote_code,
        say=console.say,
    )
    return Plan(options, source, weights_sha256(source, anew=options.force), prompts)


@contextmanager
def measured(plan: Plan, stages: list[Stage], started_at: datetime, wait_seconds: float = 0) -> Iterator[Run]:
    """The run with these stages staged; its folder goes once the block has made something of them.

    wait_seconds: for another run of the same weights.
    """
    from eigenhouse.ingest.runs.folder import RunFolder  # late, with polars: nothing of it is needed to say "already"

    marks = {name: plan.mark(stage) for name, stage in declared().items()}
    with RunFolder(cache_dir() / "runs" / plan.weights[:16], marks, wait_seconds) as folder:
        run = Run(plan, folder, started_at)
        run.measure(stages)
        yield run
        folder.remove()


@dataclass
class Run:
    """One checkpoint on its way through the stages."""

    plan: Plan
    folder: RunFolder
    started_at: datetime

    def measure(self, due: list[Stage]) -> None:
        """Run the stages that are due and not staged yet, and those before them that they read."""
        from eigenhouse.ingest.devices import return_freed  # late, as above
        from eigenhouse.ingest.stages.inputs import Inputs

        staged = [stage.name for stage in due if self.folder.is_finished(stage.name)]
        if staged:
            console.say(f"going on after {', '.join(staged)}: staged by an earlier run")
        unstaged = {stage.name for stage in due} - {*staged}
        for name in reversed(declared()):
            if name in unstaged:
                unstaged |= {need for need in declared()[name].reads if not self.folder.is_finished(need)}
        inputs = Inputs(
            self.plan.options,
            self.plan.prompts,
            engine(self.plan.options.engine),
            self.folder.path,
            lambda: self._workbench(any(declared()[name].needs_text for name in unstaged)),
        )
        for name, stage in declared().items():
            if name in unstaged:
                with self.folder.writing(stage) as out:
                    stage.run(inputs, out)
                return_freed()

    def _workbench(self, needs_text: bool) -> Workbench:
        from eigenhouse.ingest.capture.workbench import Workbench  # torch and transformers take seconds to import

        return Workbench(self.plan.source, self.plan.options, needs_forward=needs_text)

    def pack(self, stages: list[Stage]) -> Pack:
        """What these stages staged, with all that a warehouse notes of it."""
        costs = {stage.name: self.folder.manifest(stage.name).cost for stage in stages}
        return Pack(
            root=self.folder.root,
            model=self._identity,
            stacks={stack.name: stack.model for stack in self.folder.manifest(GATE).stacks},
            stages={stage.name: self.plan.entry(stage) for stage in stages},
            parts=list(self.folder.parts(stages)),
            parameters=self.plan.parameters,
            run=run_columns(asdict(self.plan.options), self.started_at, datetime.now(UTC), costs),
        )

    def load(self, due: list[Stage]) -> dict[str, int]:
        """Hand the staged stages to the warehouse and say what was written."""
        options, brought = self.plan.options, self.pack(due)
        written = store.load(
            options.warehouse,
            brought.loads(),
            brought.shared(),
            force=options.force,
            wait_seconds=options.wait,
            say=console.say,
        )
        names = ", ".join(brought.model_ids.values())
        self.tell(f"{names} is in the warehouse", written, store.size(options.warehouse))
        return written

    def write(self, stages: list[Stage], path: Path) -> None:
        """The same as a folder that travels."""
        brought = travel.write(self.pack(stages), path)
        rows: Counter[str] = Counter()
        for part in brought.parts:
            rows[part.table] += part.summed.n_rows if part.summed else 0
        size = sum(part.n_bytes for part in brought.parts)
        self.tell(f"{', '.join(brought.model_ids.values())} is packed", rows, f"{path} is {size / 2**20:.1f} MB")

    def tell(self, title: str, rows: dict[str, int], where: str) -> None:
        """The closing summary."""
        gate = self.folder.manifest(GATE)
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        worst = max((stack.worst_error for stack in gate.stacks), default=None)
        console.summary(title, rows, seconds, worst, where, _left_out(gate))

    @property
    def _identity(self) -> dict[str, object]:
        """The columns of `models` that say whose run this is: staged factors may be of an earlier one."""
        source = self.plan.source
        return {
            "name": source.name,
            "revision": source.revision,
            "revision_order": revision_order(source.revision),
            "source": source.origin,
            "checkpoint": source.model_id,
            "weights_sha256": self.plan.weights,
        }


def _left_out(gate: Manifest) -> Iterator[str]:
    """What of the model's softmax attention has no rows, a line a reason."""
    for stack in gate.stacks:
        of = f" of {stack.model['stack']}" if stack.model["stack"] else ""
        for reason, layers in stack.left_out.items():
            yield f"{len(layers)} of {stack.model['n_layers']} layers{of}, first {layers[0]}: {reason}"
    yield from (f"{path}: {reason}" for path, reason in gate.absent.items())
