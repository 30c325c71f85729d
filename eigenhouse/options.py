"""Every option, once. The command line, the variables that make hands over and both helps are made of these classes.

Only the standard library is imported here, so that `make help` can list the variables before anything is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from eigenhouse.errors import EigenhouseError, not_installed
from eigenhouse.ingest.geometry import operators

DTYPES = ("auto", "float32", "bfloat16", "float16")
STOPPED_INGEST = "stopped; the warehouse is unchanged, and the same command goes on from the last finished stage"
STOPPED_LOAD = "stopped; the packs before this one are in the warehouse, and the same command goes on"
STOPPED_MANY = "stopped; the models before are in the warehouse, and the same command goes on"
READ_MODELS = ("torch", "transformers", "accelerate")  # what a plain install leaves out first of all


# what MODEL is for every verb that reads a warehouse or takes from it
MODELS = (
    "One model of the warehouse, several as a,b, a pattern as 'org/*', or where:<a condition on columns of models>; a "
    "checkpoint's name means all its stacks."
)
BY = "What models are grouped by: family, architecture, n_layers, n_parameters, tag:<name>, …"


def option(default: Any, text: str, **limits: Any) -> Any:
    """A field that is an option: `text` is its help, `limits` go to the command line's own check (min=1)."""
    return field(default=default, metadata={"help": text, "limits": limits})


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
    npy = "npy"


@dataclass(frozen=True, kw_only=True)
class House:
    """The option of every verb that opens a warehouse."""

    warehouse: Path = option(Path("warehouse.duckdb"), "The DuckDB file.")


@dataclass(frozen=True, kw_only=True)
class Ingest(House):
    """Read a transformer checkpoint, prove its heads' factors, measure them, and write them to the warehouse."""

    model: str = option(
        "", "Hub id, folder, .safetensors, .gguf, measurement .json, catalog name; else the packaged default."
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model; a checkpoint in a local folder.")
    revisions: str | None = option(None, "Several of them, as step0,step1000: each is a model of its own.")
    name: str | None = option(None, "Name of the model in the warehouse.")
    device: str = option("auto", "Where arithmetic runs: cpu, cuda, cuda:1, mps; auto takes a GPU that is there.")
    dtype: str = option(
        "auto", "Of the weights that prompts run through: float32, bfloat16, float16; auto takes what fits."
    )
    prompts: Path | None = option(None, "Your own prompts: .jsonl, .json, .txt (one a line), .csv or .parquet.")
    static_only: bool = option(False, "Geometry alone, one layer in memory at a time.")
    dynamic_only: bool = option(False, "Attention statistics alone.")
    no_weights: bool = option(False, "Leave out the whole weight matrices' spectra.")
    subspace_size: int = option(20, "Directions of a head that count as its subspace.", min=1)
    principal_sides: bool = option(False, "Principal cosines of the key and query sides too.")
    experts: str = option("8", "Experts measured a layer, evenly spaced, or all.")
    variants: str = option(operators.DEFAULT, f"all, none, or a list of {', '.join(operators.NAMES)}.")
    eigenvectors: str = option("auto", "auto: kept up to 64 MB a model; all; none.")
    trust_remote_code: bool = option(False, "Run Python code that the model's repository brings.")
    operator: str | None = option(None, "What a measurement .json's singular values are of: head_product, metric.")
    partial: bool = option(False, "Take a model too of which one reason leaves out most layers.")
    force: bool = option(False, "Measure again, and replace what the name was bound to.")
    wait: float = option(120.0, "Seconds to wait for a warehouse that another process holds.")
    engine: str = option("here", "Where the work of a stage runs: a module of ingest/runs/engines.")
    pack: Path | None = option(None, "A folder that gets the measurements as a pack; the warehouse isn't touched.")

    @property
    def variant_names(self) -> tuple[str, ...]:
        """Raises EigenhouseError for a name that there is not."""
        return operators.asked(self.variants)

    @property
    def max_experts(self) -> int | None:
        """How many experts of a layer are measured; None for all. Raises EigenhouseError for what is neither."""
        if self.experts == "all":
            return None
        if not self.experts.isdecimal() or int(self.experts) < 1:
            raise EigenhouseError(f"want EXPERTS=all or a number of experts a layer, got {self.experts!r}")
        return int(self.experts)

    @property
    def no_variants(self) -> bool:
        return not self.variant_names

    def settled(self, name: str) -> object:
        """An option's value with its spelling settled: two that mean the same give the same.

        None where it is left to the program, such as the dtype: rows say which it took.
        """
        settled: dict[str, object] = {"variants": ",".join(self.variant_names), "experts": self.max_experts or "all"}
        settled |= {"dtype": None if self.dtype == "auto" else self.dtype}
        return settled.get(name, getattr(self, name))

    def check(self) -> None:
        """Raise EigenhouseError for what can't be meant or done, before anything is fetched."""
        self.max_experts, self.variant_names  # noqa: B018  (they raise)
        if self.static_only and self.dynamic_only:
            raise EigenhouseError("want STATIC_ONLY or DYNAMIC_ONLY, got both, which leaves nothing to do")
        if self.eigenvectors not in ("auto", "all", "none"):
            raise EigenhouseError(f"want EIGENVECTORS=auto, all or none, got {self.eigenvectors!r}")
        if self.dtype not in DTYPES:
            raise EigenhouseError(f"want DTYPE={', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {self.dtype!r}")
        if missing := [name for name in READ_MODELS if not self.model.endswith(".json") and not find_spec(name)]:
            raise not_installed(missing[0])


@dataclass(frozen=True, kw_only=True)
class Load(House):
    """Bring packs into the warehouse, with the checks of an ingest; what is there already is skipped."""

    from_: str = option("", "A pack, a folder of packs, several of them as a,b, or a file that lists them.")
    force: bool = option(False, "Replace what is there, whatever weights and versions it is of.")
    wait: float = option(120.0, "Seconds to wait for a warehouse that another process holds.")


@dataclass(frozen=True, kw_only=True)
class IngestMany(House):
    """Ingest every model of a list, a process each: a table says what went in, what not and why."""

    list: Path | None = option(None, "A file with a model a line, and its options as NAME=… STATIC_ONLY=1.")
    jobs: int = option(1, "How many models are measured at once; the cores are shared out.", min=1)
    timeout: float = option(0.0, "Seconds after which a model is given up; 0 for as long as it takes.", min=0)
    wait: float = option(120.0, "Seconds to wait for a warehouse that another process holds.")


@dataclass(frozen=True, kw_only=True)
class _Parameters(House):
    """What a saved query may ask for; None leaves the query's own default."""

    model: str | None = option(None, f"{MODELS} All without it.")
    anchor: str | None = option(None, "Parameter of the query: last, middle, best, … or a layer.")
    operator: str | None = option(None, "Parameter of the query: metric, head_product or a variant.")
    head: int | None = option(None, "Parameter of the query: a head, counted from 0.")
    k: int | None = option(None, "Parameter of the query: how many.")
    tag: str | None = option(None, "Parameter of the query: one of the tags that `tags` lists.")
    by: str | None = option(None, BY)

    @property
    def given(self) -> dict[str, Any]:
        named = {each.name: getattr(self, each.name) for each in fields(_Parameters)}
        return {name: value for name, value in named.items() if value is not None and name != "warehouse"}


@dataclass(frozen=True, kw_only=True)
class Query(_Parameters):
    """Answer a question in SQL or a saved query."""

    sql: str = option(
        "",
        "A question; $model, $anchor, $operator, $head, $k are filled from the options, $models lists MODEL's models.",
    )
    q: str = option("", "A saved query by name; `queries` lists them.")
    format: Format = option(Format.table, f"How the answer is written: {', '.join(Format)}.")
    out: Path | None = option(None, "The file to write; standard output without it.")
    files: str = option("", "Files that SQL of your own may read beside the warehouse, as scores.csv,more.parquet.")
    timeout: float = option(600.0, "Seconds that an answer is waited for; 0 for as long as it takes.", min=0)
    unsafe: bool = option(False, "Let SQL of your own read and write files, as with COPY.")


@dataclass(frozen=True, kw_only=True)
class Chart(_Parameters):
    """Draw a saved query, as its header says."""

    q: str = option("", "A saved query by name; `queries` lists them.")
    out: Path | None = option(None, "The .html, .png or .svg to write; all three in charts/ without it.")


@dataclass(frozen=True, kw_only=True)
class Charts(House):
    """Draw every saved query that has a chart, as .html, .png and .svg in a folder."""

    out: Path = option(Path("charts"), "The folder to write into; made where there is none.")
    model: str | None = option(None, f"{MODELS} All without it.")
    by: str | None = option(None, BY)


@dataclass(frozen=True, kw_only=True)
class Report(House):
    """Write every model's charts, verdicts and data as pages to read without a network, and as Markdown."""

    out: Path = option(Path("report"), "The folder to write.")
    model: str | None = option(None, f"{MODELS} All without it.")


@dataclass(frozen=True, kw_only=True)
class Models(House):
    """List the models, their worst conformance error, and what of them is doubted or stale."""

    model: str | None = option(None, f"{MODELS} All without it.")
    format: Format = option(Format.table, f"How the answer is written: {', '.join(Format)}.")
    out: Path | None = option(None, "The file to write; standard output without it.")


@dataclass(frozen=True, kw_only=True)
class Tag(House):
    """Say something of a model: benchmark scores, training tokens, licence; queries group and regress by it."""

    model: str = option("", "The model to tag; a checkpoint with all its stacks.")
    tags: str = option("", "What is said, as \"mmlu=63.4 licence='Apache 2.0'\"; an empty value takes a tag away.")


@dataclass(frozen=True, kw_only=True)
class TagSheet(House):
    """List the tags of all models, or take them from a CSV."""

    from_: Path | None = option(None, "A CSV to take tags from: a column model, then a column a tag.")
    format: Format = option(Format.table, f"How the answer is written: {', '.join(Format)}.")
    out: Path | None = option(None, "The file to write; standard output without it.")


@dataclass(frozen=True, kw_only=True)
class Queries:
    """List the saved queries and their parameters."""


@dataclass(frozen=True, kw_only=True)
class Export(House):
    """Write models' measurements as files for other tools: spectra, grams, effective ranks."""

    model: str = option("", MODELS)
    out: Path | None = option(None, "The folder to write into; made where there is none.")
    operator: str | None = option(None, "Whose singular values: head_product, or metric, …")
    prompt_set: str | None = option(None, "Whose attention, where there are several.")


@dataclass(frozen=True, kw_only=True)
class Views(House):
    """Bring an existing warehouse up to date: its views, and its tables where an older program made them."""


@dataclass(frozen=True, kw_only=True)
class Verify(House):
    """Look a warehouse over: every table read, sums and counts compared, checksums too; says what to do."""

    model: str = option("", f"{MODELS} All without it.")


@dataclass(frozen=True, kw_only=True)
class Remove(House):
    """Take models out of the warehouse, with their runs and what no other model uses."""

    model: str = option("", MODELS)


@dataclass(frozen=True, kw_only=True)
class Compact(House):
    """Write the warehouse's file anew, without the room that removed rows left; nobody else may have it open."""


@dataclass(frozen=True, kw_only=True)
class CleanCache:
    """Remove stopped runs, packs, fetched catalog models and notes of files that are gone, each with its size."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What make takes for the bench, which is no verb: it is a checkout's, and not installed."""

    rev: str = option("d062e73", "A git revision that the bench measures the program beside.")


class Verb(NamedTuple):
    """options: a class whose docstring is the verb's help · work: "module:function" of one argument, those options.

    kept: what is said where a signal ends it.
    """

    options: type
    work: str
    kept: str = "stopped"


VERBS = {
    "ingest": Verb(Ingest, "eigenhouse.ingest.command:ingest", STOPPED_INGEST),
    "ingest-many": Verb(IngestMany, "eigenhouse.ingest.many.command:ingest_many", STOPPED_MANY),
    "load": Verb(Load, "eigenhouse.ingest.packs.command:load", STOPPED_LOAD),
    "models": Verb(Models, "eigenhouse.analyses.commands:models"),
    "query": Verb(Query, "eigenhouse.analyses.commands:query"),
    "chart": Verb(Chart, "eigenhouse.analyses.commands:chart"),
    "charts": Verb(Charts, "eigenhouse.analyses.commands:charts"),
    "report": Verb(Report, "eigenhouse.analyses.commands:report"),
    "queries": Verb(Queries, "eigenhouse.analyses.commands:queries"),
    "export": Verb(Export, "eigenhouse.analyses.commands:export"),
    "tag": Verb(Tag, "eigenhouse.ingest.tagging:tag"),
    "tags": Verb(TagSheet, "eigenhouse.analyses.commands:tags"),
    "views": Verb(Views, "eigenhouse.analyses.commands:views"),
    "verify": Verb(Verify, "eigenhouse.ingest.upkeep:verify"),
    "remove": Verb(Remove, "eigenhouse.ingest.upkeep:remove"),
    "compact": Verb(Compact, "eigenhouse.ingest.upkeep:compact"),
    "clean-cache": Verb(CleanCache, "eigenhouse.ingest.upkeep:clean_cache"),
}

TARGETS = {"bench": Bench}  # what else make takes options for


def variable(name: str) -> str:
    """STATIC_ONLY for the field static_only: what make takes, and hands over as EIGENHOUSE_STATIC_ONLY.

    FROM for from_, a name that Python keeps for itself.
    """
    return name.rstrip("_").upper()
