"""One ingest from MODEL to committed rows: the stages that are due, staged one after the other, one transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.runs.engines import engine
from eigenhouse.ingest.runs.plan import Plan
from eigenhouse.ingest.runs.provenance import run_row
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.prompts import STANDARD, read_prompts
from eigenhouse.ingest.sources.source import revision_order, weights_sha256
from eigenhouse.ingest.stages.declaration import GATE, Stage, declared
from eigenhouse.ingest.warehouse import backend, store
from eigenhouse.ingest.warehouse.loads import StackLoad
from eigenhouse.options import Ingest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if options.force:
        store.want_whole(options.warehouse, source.model_id, wait_seconds=options.wait)
    plan = Plan(options, source, weights_sha256(source, anew=options.force), prompts)
    due = plan.due()
    if not due:
        console.say(f"{source.model_id} is already ingested: same weights and options. FORCE=1 measures it again")
        return {}
    from eigenhouse.ingest.runs.folder import RunFolder  # late, with polars: nothing of it is needed to say "already"

    marks = {name: plan.mark(stage) for name, stage in declared().items()}
    with RunFolder(cache_dir() / "runs" / plan.weights[:16], marks) as folder:
        run = Run(plan, folder, started_at)
        run.measure(due)
        written = run.load(due)
        folder.remove()
    return written


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

    def load(self, due: list[Stage]) -> dict[str, int]:
        """Hand the staged stages to the warehouse and say what was written."""
        options = self.plan.options
        stacks = self.folder.manifest(GATE).stacks
        costs = {stage.name: self.folder.manifest(stage.name).cost for stage in due}
        finished_at = datetime.now(UTC)
        loads = [
            StackLoad(
                model_id=self.plan.source.model_id + (f"#{suffix}" if (suffix := stack.model["stack"]) else ""),
                model=self._identity | stack.model,
                run=run_row(asdict(options), self.started_at, finished_at, costs),
                stages={stage.entry(self.plan.parameters): self.plan.entry(stage) for stage in due},
                tables=self.folder.tables(due, stack.name),
                parameters=self.plan.parameters,
            )
            for stack in stacks
        ]
        written = store.load(
            options.warehouse,
            loads,
            self.folder.shared(due),
            force=options.force,
            wait_seconds=options.wait,
            say=console.say,
        )
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        worst = max((stack.worst_error for stack in stacks), default=None)
        names = ", ".join(load.model_id for load in loads)
        title, house = f"{names} is in the warehouse", store.size(options.warehouse)
        console.summary(title, written, seconds, worst, house, _left_out(self.folder.manifest(GATE)))
        return written

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
