"""A small warehouse to ask, and the command line that asks it; no options from outside."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import experiment_fixture
import polars as pl
import pytest
import report_fixture
import warehouse_fixture as fixture
from filelock import FileLock
from tiny_ingests import Warehouse

from bench import tiny_warehouse
from eigenhouse import __main__ as command_line
from eigenhouse.analyses.answers import answering, apart
from eigenhouse.analyses.charts import pictures, renderer
from eigenhouse.analyses.report import report
from eigenhouse.ingest.warehouse import store

SEEDS = {"org/one": 0, "org/two": 1}
N_DEEP = 13
UNWITNESSED = {"witness": pl.lit(None, pl.String), "witness_max_rel_error": pl.lit(None, pl.Float32)}
HEADS = [(layer, head) for layer in range(fixture.N_LAYERS) for head in range(fixture.N_HEADS)]


@pytest.fixture(autouse=True)
def no_options_from_outside(monkeypatch):
    """What make or a user's shell hands over is for the program, not for its tests."""
    for name in os.environ:
        if name.startswith("EIGENHOUSE_") and name != "EIGENHOUSE_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def asked_here(request, monkeypatch):
    """Questions are answered, and charts rendered, in the test's own process, by the same functions: seconds less.

    A test that is marked `apart` does both as a user does.
    """
    if request.node.get_closest_marker("apart"):
        return

    def parts(asked, seconds):
        with io.BytesIO() as file:
            answering.answer(asked, file, store.say_on_stderr, lambda: None)
            yield file.getvalue()

    monkeypatch.setattr(apart, "parts", parts)
    monkeypatch.setattr(renderer.Renderers, "rendered", lambda _, *chart: pictures.rendered(*chart))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def own_warehouse(tmp_path, own_cache):
    """One that isn't there yet."""
    warehouse = Warehouse(tmp_path, is_there=False)
    yield warehouse
    warehouse.close()


@pytest.fixture
def ask(own_warehouse):
    """Asks the test's own warehouse, which stands there empty at first."""
    own_warehouse.make()
    return own_warehouse.ask


def conformance(worst: float) -> pl.DataFrame:
    """An error for each head, largest in none of the corners, equal nowhere."""
    sizes = [(7 * place + 5) % len(HEADS) + 1 for place in range(len(HEADS))]
    rows = [(*place, worst * size / len(HEADS), "split") for place, size in zip(HEADS, sizes, strict=True)]
    kinds = {"layer": pl.Int16, "head": pl.Int16, "max_rel_error": pl.Float32, "layout": pl.String}
    return pl.DataFrame(rows, schema=list(kinds), orient="row").cast(kinds)


def geometry(folder: Path, model_id: str, seed: int) -> dict[str, list[Path]]:
    """Every table of a model of the experiments, deep enough for trends on both sides of a layer."""
    toy = experiment_fixture.make(model_id, seed, (N_DEEP, fixture.N_HEADS, fixture.N_VALUES, 11))
    return fixture.staged(folder / f"{seed}-geometry", **experiment_fixture.frames(toy))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory):
    """Two full models with a geometry of more layers than their spectra have, and a third with spectra alone."""
    folder = tmp_path_factory.mktemp("analyses")
    stacks = []
    for model_id, seed in SEEDS.items():
        full = fixture.full_load(folder / str(seed), model_id, seed)
        proved = conformance(1e-6 * (seed + 1)).with_columns(**UNWITNESSED)
        added = {"conformance": proved, "eigenvectors": fixture.eigenvectors(N_DEEP)}
        proof = fixture.staged(folder / f"{seed}-proof", **added)
        step = {"revision": f"step{seed + 1}", "revision_order": seed + 1}
        full = replace(full, model=full.model | step)
        full = fixture.with_tables(full, geometry(folder, model_id, seed))
        stacks.append(replace(full, tables=full.tables | fixture.stack(model_id, proof).tables))
    static = fixture.staged(folder / "static", singular_values=fixture.singular_values(2))
    stacks.append(fixture.stack("org/static", static))
    path = folder / "warehouse.duckdb"
    store.load(path, stacks, {}, force=False)
    with store.writing(path) as con:
        con.execute("insert into model_tags select model_key, 'mmlu', 7 * length(model_id) from models")
        con.execute("update model_tags set value = '50' where model_key = (select max(model_key) from models)")
    return path


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder for all workers of a run, which the first to come here fills; all others read it only."""
    run = factory.getbasetemp()
    folder = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            half = folder.with_suffix(".half")
            half.mkdir()  # one that failed before fails here
            make(half)
            half.rename(folder)
    return folder


@pytest.fixture(scope="session")
def spectra(tmp_path_factory):
    """A warehouse with a model whose files hold no tensors, so that nothing of them needs torch."""
    folder = tmp_path_factory.mktemp("spectra")
    frames = experiment_fixture.frames(experiment_fixture.make("org/spectra", 1, (3, 5, 7, 11), attends=False))
    staged = fixture.staged(folder, **{name: frames[name] for name in ("layers", "singular_values")})
    path = tiny_warehouse.copy_empty(folder / "spectra.duckdb")
    store.load(path, [fixture.stack("org/spectra", staged)], {}, force=False)
    return path


@pytest.fixture(scope="session")
def experiments(tmp_path_factory):
    """The warehouse of experiment_fixture.MODELS, open for reading."""

    def make(folder: Path) -> None:
        experiment_fixture.build(folder / "warehouse.duckdb", folder / "staged")

    folder = made_once(tmp_path_factory, "experiments", make)
    con = store.connect(folder / "warehouse.duckdb", read_only=True)
    yield con
    con.close()


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """A report of the models of report_fixture: its folder, and the warehouse, open for reading.

    The Markdown's pictures are one pixel each: that charts are drawn is test_charts.py's.
    """

    def make(folder: Path) -> None:
        report_fixture.build(folder / "warehouse.duckdb", folder / "staged")
        with store.connect(folder / "warehouse.duckdb", read_only=True) as con, pytest.MonkeyPatch.context() as patch:
            patch.setattr(pictures, "rendered", lambda text, suffixes: dict.fromkeys(suffixes, report_fixture.PIXEL))
            report.write(con, "warehouse.duckdb", folder / "report", None, lambda line: None)

    folder = made_once(tmp_path_factory, "reported", make)
    con = store.connect(folder / "warehouse.duckdb", read_only=True)
    yield folder / "report", con
    con.close()


@pytest.fixture
def run(warehouse, capfdbinary):
    """Runs the command line against the warehouse: exit status, standard output, standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as ending:
            command_line.app([*args, "--warehouse", str(warehouse)])
        out, err = capfdbinary.readouterr()
        return ending.value.code or 0, out, err.decode()

    return run


@pytest.fixture
def rows(run):
    """The rows of an answer that must succeed, as JSON gives them."""

    def rows(*args):
        status, out, err = run("query", *args, "--format", "json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return rows


LONGEST = (
    "test_architectures", "test_stored_forms", "test_real_models", "test_process", "test_towers", "test_variants",
    "test_exchange", "test_geometry_ingest", "test_report", "test_ingest", "test_migrations", "test_charts",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left with one alone at the end."""

    def place(item):
        return next((at for at, name in enumerate(LONGEST) if item.path.stem.startswith(name)), len(LONGEST))

    items.sort(key=place)
