"""One ingest from MODEL to committed rows: which stages are due, in which order, staged where.

factors (the gate) → spectra → grams → subspaces → alignments → weights → attention → one transaction. Every stage
leaves a folder of Parquet files.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eigenhouse.ingest import console
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.locate import resolve
from eigenhouse.ingest.sources.prompts import STANDARD, PromptSet, read_prompts
from eigenhouse.ingest.sources.source import Source, revision_order, weights_sha256
from eigenhouse.ingest.stages import staging
from eigenhouse.ingest.stages.staging import RunFolder, fingerprint
from eigenhouse.ingest.warehouse import store

from eigenhouse import __version__
from eigenhouse.errors import EigenhouseError
from eigenhouse.options import Ingest

STATIC = ("spectra", "grams", "variants", "subspaces", "alignments", "weights")
# what a stage reads besides the model: staged again where an earlier run has removed it
NEEDS = dict.fromkeys((*STATIC, "attention"), ("factors",)) | {"alignments": ("factors", "subspaces")}
LIBRARIES = ("torch", "transformers", "numpy", "polars", "duckdb", "gguf", "safetensors")


def stages_of(options: Ingest) -> tuple[str, ...]:
    """Everything asked for; `factors` is under all of it, since no number counts without the gate."""
    wanted = {"weights": not options.no_weights, "variants": bool(options.variant_names)}
    static = () if options.dynamic_only else tuple(stage for stage in STATIC if wanted.get(stage, True))
    dynamic = () if options.static_only else ("attention",)
    return ("factors", *static, *dynamic)


def ingest(options: Ingest) -> dict[str, int]:
    """Rows written by table; empty where everything asked for was in the warehouse already."""
    started_at = datetime.now(UTC)
    options.check()
    if not os.access(options.warehouse.absolute().parent, os.W_OK):
        raise EigenhouseError(f"want a folder to write {options.warehouse} in; it doesn't exist, or is read-only")
    if options.model.endswith(".json"):
        from eigenhouse.ingest.exchange import imports as exchange  # it reads this module

        return exchange.import_file(options, started_at)
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
    weights = weights_sha256(source)
    marks = _fingerprints(options, source, weights, prompts)
    due = _due(options, source, weights, marks, prompts)
    if not due:
        console.say(f"{source.model_id} is already ingested: same weights, options and code. FORCE=1 measures it again")
        return {}
    with RunFolder(cache_dir() / "runs" / weights[:16]) as folder:
        run = Run(options, source, weights, prompts, folder, marks, started_at)
        run.measure(due)
        written = run.load(due)
        folder.remove()
    return written


@dataclass
class Run:
    """One checkpoint on its way through the stages."""

    options: Ingest
    source: Source
    weights: str
    prompts: PromptSet
    folder: RunFolder
    marks: dict[str, str]
    started_at: datetime

    @cached_property
    def bench(self) -> Any:
        from eigenhouse.ingest.capture.workbench import Workbench  # torch and transformers take seconds to import

        return Workbench(self.source, self.options, needs_forward="attention" in self._unstaged)

    def measure(self, due: list[str]) -> None:
        """Run the stages that are due and not staged yet, and those before them that they read."""
        staged = [stage for stage in due if self.folder.is_finished(stage, self.marks[stage])]
        if staged:
            console.say(f"going on after {', '.join(staged)}: staged by an earlier run")
        self._unstaged = [stage for stage in due if stage not in staged]
        needed = {need for stage in self._unstaged for need in NEEDS.get(stage, ())}
        absent = {stage for stage in needed if not self.folder.is_finished(stage, self.marks[stage])}
        order = ("factors", *STATIC, "attention")
        self._unstaged = sorted({*self._unstaged, *absent}, key=order.index)
        for stage in self._unstaged:
            with self.folder.writing(stage, self.marks[stage]) as out:
                self._write(stage, out)

    def _write(self, stage: str, out: Path) -> None:
        from eigenhouse.ingest.stages import attention as attention_stage
        from eigenhouse.ingest.stages import factors as factor_stage
        from eigenhouse.ingest.stages import spectra as stages
        from eigenhouse.ingest.stages import subspaces as subspace_stage
        from eigenhouse.ingest.stages import variants as variant_stage
        from eigenhouse.ingest.stages import weights as weight_stages

        factors = self.folder.path("factors", self.marks["factors"])
        if stage == "factors":
            factor_stage.write_factors(self.bench, out)
        elif stage == "spectra":
            stages.write_spectra(factors, out, self.options.eigenvectors)
        elif stage == "grams":
            stages.write_grams(factors, out)
        elif stage == "variants":
            variant_stage.write_variants(factors, out)
        elif stage == "subspaces":
            subspace_stage.write_subspaces(factors, out, self.options.subspace_size, self.options.principal_sides)
        elif stage == "alignments":
            subspaces = self.folder.path("subspaces", self.marks["subspaces"])
            weight_stages.write_alignments(self.bench, subspaces, out, self.options.max_experts)
        elif stage == "weights":
            weight_stages.write_weights(self.bench, factors, out, self.options.max_experts)
        else:
            attention_stage.write_attention(self.bench, out, self.prompts)

    def load(self, due: list[str]) -> dict[str, int]:
        """Hand the staged stages to the warehouse and tell what was written."""
        stacks = json.loads((self.folder.path("factors", self.marks["factors"]) / "stacks.json").read_text())
        finished_at = datetime.now(UTC)
        loads = [self._stack_load(stack, due, finished_at) for stack in stacks]
        shared: dict[str, list[Path]] = {}
        for stage in due:
            for table, file in staging.staged_tables(self.folder.path(stage, self.marks[stage])).items():
                shared.setdefault(table, []).append(file)
        written = store.load(
            self.options.warehouse,
            loads,
            shared,
            force=self.options.force,
            wait_seconds=self.options.wait,
            say=console.say,
        )
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        worst = max((stack["worst_error"] for stack in stacks if stack["worst_error"] is not None), default=None)
        names = ", ".join(load.model_id for load in loads)
        console.summary(f"{names} is in the warehouse", written, seconds, worst, self.options.warehouse)
        return written

    @property
    def _identity(self) -> dict[str, object]:
        """The columns of `models` that say whose run this is: staged factors may be of an earlier one."""
        return {
            "name": self.source.name,
            "revision": self.source.revision,
            "revision_order": revision_order(self.source.revision),
            "source": self.source.origin,
            "checkpoint": self.source.model_id,
            "weights_sha256": self.weights,
        }

    def _stack_load(self, stack: dict[str, Any], due: list[str], finished_at: datetime) -> store.StackLoad:
        staged: dict[str, list[Path]] = {}
        expected: dict[str, int] = {}
        costs = {}
        for stage in due:
            folder = self.folder.path(stage, self.marks[stage])
            costs[stage] = self.folder.cost(stage, self.marks[stage])
            for table, n_rows in json.loads((folder / "expected.json").read_text())[stack["folder"]].items():
                expected[table] = expected.get(table, 0) + n_rows
                staged.setdefault(table, [])
            for table, path in staging.staged_tables(folder / stack["folder"]).items():
                staged[table].append(path)
        suffix = f"#{stack['model']['stack']}" if stack["model"]["stack"] else ""
        return store.StackLoad(
            model_id=self.source.model_id + suffix,
            model=stack["model"] | self._identity,
            run=run_row(asdict(self.options), self.started_at, finished_at, costs),
            fingerprints={_ledger_name(stage, self.prompts): self.marks[stage] for stage in due},
            staged=staged,
            expected_rows=expected,
        )


def run_row(
    options: dict[str, object], started_at: datetime, finished_at: datetime, costs: dict[str, dict[str, float]]
) -> dict[str, object]:
    """The columns of `ingest_runs` for a run that wrote what it set out to."""
    return {
        "run_id": str(uuid.uuid4()),
        "started_at": started_at,
        "finished_at": finished_at,
        "status": "done",
        "seconds": (finished_at - started_at).total_seconds(),
        "peak_rss_mb": max([staging.peak_rss_mb(), *(cost["peak_rss_mb"] for cost in costs.values())]),
        "options": json.dumps(options, default=str),
        "versions": json.dumps(versions()),
        "stages": json.dumps(costs),
    }


def _fingerprints(options: Ingest, source: Source, weights: str, prompts: PromptSet) -> dict[str, str]:
    config = source.config_file.read_text() if source.config_file else ""
    tokenizer = hashlib.sha256(b"".join(path.read_bytes() for path in source.tokenizer_files)).hexdigest()
    common = {
        "weights": weights,
        "config": "".join([config, *(path.read_text() for path in source.quantization_files)]),
        "versions": versions(),
        "remote": options.trust_remote_code and [path.read_text() for path in sorted(source.folder.glob("*.py"))],
    }
    return {
        "factors": fingerprint(stage="factors", variants=options.variant_names, **common),
        "spectra": fingerprint(stage="spectra", eigenvectors=options.eigenvectors, **common),
        "grams": fingerprint(stage="grams", **common),
        "variants": fingerprint(stage="variants", variants=options.variant_names, **common),
        "subspaces": fingerprint(
            stage="subspaces", size=options.subspace_size, principal_sides=options.principal_sides, **common
        ),
        "alignments": fingerprint(
            stage="alignments", size=options.subspace_size, experts=options.max_experts, **common
        ),
        "weights": fingerprint(stage="weights", experts=options.max_experts, **common),
        "attention": fingerprint(
            stage="attention", prompts=prompts.name, texts=prompts.sha256s, tokenizer=tokenizer, **common
        ),
    }


def _due(options: Ingest, source: Source, weights: str, marks: dict[str, str], prompts: PromptSet) -> list[str]:
    """The stages asked for that the warehouse doesn't hold in this very form. Refuses a name bound to other weights."""
    if not store.bring_up_to_date(options.warehouse, wait_seconds=options.wait, say=console.say):
        return list(stages_of(options))
    with store.reading(options.warehouse, wait_seconds=options.wait, say=console.say) as con:
        bound = store.stack_ids(con, source.model_id)
        for model_id in bound:
            store.check_name(con, model_id, weights, options.force)
        held = [store.ingested(con, model_id)[1] for model_id in bound]
    if options.force or not held:
        return list(stages_of(options))
    names = {stage: _ledger_name(stage, prompts) for stage in stages_of(options)}
    return [stage for stage in stages_of(options) if any(ledger.get(names[stage]) != marks[stage] for ledger in held)]


def _ledger_name(stage: str, prompts: PromptSet) -> str:
    """How the warehouse notes a finished stage: prompt sets stand beside one another, each with its own note."""
    return f"attention:{prompts.name}" if stage == "attention" else stage


def versions() -> dict[str, str]:
    return {"eigenhouse": __version__, "code": staging.code_version()} | {name: version(name) for name in LIBRARIES}
