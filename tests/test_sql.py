"""The SQL files: headers that keep their promises, comments on everything, rollups against plain loops."""

import math

import duckdb
import pytest
import warehouse_fixture as fixture

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles, store

AGGREGATES = ("effective_rank", "stable_rank", "descriptors")  # the macros that the rollup reads
TABLES = sqlfiles.files("tables")
REL = 1e-12  # double arithmetic on the same float32 values
MODEL = (
    "('m', 1, 'm', null, null, null, 'm', null, null, null, 1, 1, null, null, null, null, null, null, {}, "
    "null, null, null, null, null)"
)


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    """Two models with the same keys and other values: every join and filter has a decoy to reject."""
    folder = tmp_path_factory.mktemp("sql")
    stacks = [fixture.full_load(folder / name, f"org/{name}", seed) for seed, name in enumerate(("one", "two"))]
    fixture.prompts().write_parquet(folder / "prompts.parquet")
    store.load(folder / "warehouse.duckdb", stacks, {"prompts": [folder / "prompts.parquet"]}, force=False)
    con = store.connect(folder / "warehouse.duckdb", read_only=True)
    yield con
    con.close()


# --- headers and comments ---


def test_header_is_the_toml_at_the_top(tmp_path):
    path = tmp_path / "a.sql"
    path.write_text('--| title = "σ, a \\"b\\""\n--|\n--| [columns]\n--| k = "rank"\nselect 1;\n--| late = 1\n')
    assert sqlfiles.header(path) == {"title": 'σ, a "b"', "columns": {"k": "rank"}}
    bare = tmp_path / "bare.sql"
    bare.write_text("select 1")
    assert sqlfiles.header(bare) == {}


def test_header_that_is_not_toml_names_its_file(tmp_path):
    path = tmp_path / "broken.sql"
    path.write_text("--| title = no quotes\nselect 1")
    with pytest.raises(EigenhouseError, match=r"broken\.sql: .*not TOML"):
        sqlfiles.header(path)


def test_macros_and_views_are_made_after_those_they_read(tmp_path, monkeypatch):
    """A view may read a view through a macro: by its argument (`pairs('y')`), and by what the macro itself reads."""
    texts = {
        "views": {"a": "select 1 from e join  z on true", "d": "from a", "e": "select 2", "y": "from e", "z": "from y"},
        "macros": {"pairs": "from query_table(it) join d on true", "plus": "select x + 1"},
    }
    texts["views"]["b"] = "select plus(1) from pairs('y')"
    for folder, files in texts.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / f"{name}.sql").write_text(f"create {folder} {name} as {text}")
    monkeypatch.setattr(sqlfiles, "SQL_DIR", tmp_path)
    made = [path.stem for path in sqlfiles.in_order()]
    for before, after in ("ey", "yz", "za", "ea", "ad", ("d", "pairs"), ("pairs", "b"), ("plus", "b"), "yb"):
        assert made.index(before) < made.index(after), (before, after)


def test_the_columns_of_another_header_stand_in_their_place(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.sql").write_text(
        '--| grain = ["k"]\n--| [columns]\n--| k = "key"\n--| x = "of t"\n--| y = "y"\nselect'
    )
    view = tmp_path / "v.sql"
    view.write_text('--| grain = ["k"]\n--| [columns]\n--| a = "a"\n--| "*" = "tables/t"\n--| b = "b"\n--| x = "own"\n')
    monkeypatch.setattr(sqlfiles, "SQL_DIR", tmp_path)
    assert list(sqlfiles.header(view)["columns"].items()) == [("a", "a"), ("x", "own"), ("y", "y"), ("b", "b")]


def test_no_line_is_longer_than_a_screen():
    long = [f"{path}:{n}" for path in sqlfiles.SQL_DIR.rglob("*.sql")
            for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]  # fmt: skip
    assert long == []


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_table_header_matches_the_table(con, path):
    meta = sqlfiles.header(path)
    names = [row[0] for row in con.execute(f"describe {path.stem}").fetchall()]
    assert names == list(meta["columns"])
    assert names[: len(meta["grain"])] == meta["grain"]
    keys = con.execute(
        "select constraint_column_names from duckdb_constraints() "
        "where table_name = ? and constraint_type = 'PRIMARY KEY'",
        [path.stem],
    ).fetchall()
    assert keys in ([], [(meta["grain"],)])


def test_everything_has_a_comment(con):
    bare = con.execute("""
        select table_name, column_name from duckdb_columns() where not internal and coalesce(comment, '') = ''
        union all
        select table_name, null from duckdb_tables() where not internal and coalesce(comment, '') = ''
        union all
        select view_name, null from duckdb_views() where not internal and coalesce(comment, '') = ''
        union all
        select function_name, null from duckdb_functions() where not internal and coalesce(comment, '') = ''
    """).fetchall()
    assert bare == []


def test_comments_are_the_headers_texts(con):
    of_column = "select comment from duckdb_columns() where table_name = ? and column_name = ?"
    [[table]] = con.execute("select comment from duckdb_tables() where table_name = 'eigenvectors'").fetchall()
    [[view]] = con.execute("select comment from duckdb_views() where view_name = 'head_descriptors'").fetchall()
    [[column]] = con.execute(of_column, ["models", "model_key"]).fetchall()
    [[key]] = con.execute(of_column, ["head_descriptors", "layer"]).fetchall()
    tables = sqlfiles.tables()
    assert table == tables["eigenvectors"]["title"]
    assert column == tables["models"]["columns"]["model_key"]
    assert view == sqlfiles.header(sqlfiles.SQL_DIR / "views" / "head_descriptors.sql")["question"]
    assert key == "layer, counted from 0"


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("layers", "(1, 0, null, 1, 1, 'full', null, true, null)"),
        ("layers", "(1, 0, 1, 1, 1, 'round', null, true, null)"),
        ("layers", "(1, -1, 1, 1, 1, 'full', null, true, null)"),
        ("prompts", "('s', 0, '', repeat('0', 64))"),
        ("prompts", "('s', 0, 'text', '')"),
        ("ingest_runs", "('r', 1, now()::timestamp, now()::timestamp, 'begun', 1, 1, '{}', '{}', '{}')"),
        ("ingest_runs", "('r', 1, now()::timestamp, now()::timestamp, 'done', 'nan', 1, '{}', '{}', '{}')"),
        ("ingest_runs", "('r', 1, now()::timestamp, now()::timestamp, 'done', 'inf', 1, '{}', '{}', '{}')"),
        ("ingest_runs", "('r', 1, now()::timestamp, now()::timestamp, 'done', -1, 1, '{}', '{}', '{}')"),
        ("ingest_runs", "('r', 1, now()::timestamp, now()::timestamp, 'done', 1, 'nan', '{}', '{}', '{}')"),
        ("models", MODEL.format("'nan'")),
        ("models", MODEL.format("'inf'")),
        ("models", MODEL.format("'-inf'")),
        ("skipped_modules", "(1, 'module', 'factors', '')"),
    ],
)
def test_small_tables_refuse_what_may_not_be(table, row):
    with duckdb.connect() as fresh:
        fresh.execute((sqlfiles.SQL_DIR / "tables" / f"{table}.sql").read_text())
        with pytest.raises(duckdb.ConstraintException, match="CHECK"):
            fresh.execute(f"insert into {table} values {row}")


@pytest.mark.parametrize("scale", ["null", "0.125", "-1.7976931348623157e308"])
def test_models_take_any_finite_scale(scale):
    with duckdb.connect() as fresh:
        fresh.execute((sqlfiles.SQL_DIR / "tables" / "models.sql").read_text())
        fresh.execute(f"insert into models values {MODEL.format(scale)}")
        assert fresh.execute("select count(*) from models").fetchall() == [(1,)]


# --- rollups ---


def descriptors(sigmas):
    """The formulas of the definitions, in plain Python, two passes, exact sums."""
    total, energy = math.fsum(sigmas), math.fsum(sigma**2 for sigma in sigmas)
    shares = [sigma / total for sigma in sigmas if sigma > 0]
    powers = [sigma**2 / energy for sigma in sigmas if sigma > 0]
    return {
        "op_norm": max(sigmas),
        "fro_norm": math.sqrt(energy),
        "nuclear_norm": total,
        "effective_modes": total / max(sigmas),
        "effective_rank": math.exp(-math.fsum(p * math.log(p) for p in shares)),
        "spectral_entropy_nats": -math.fsum(q * math.log(q) for q in powers),
        "anisotropy": max(sigmas) / (total / len(sigmas)),
        "condition_number": max(sigmas) / min(sigmas) if min(sigmas) > 0 else None,
        "stable_rank": energy / max(sigmas) ** 2,
        "participation_ratio": energy**2 / math.fsum(sigma**4 for sigma in sigmas),
    }


def test_head_descriptors_against_loops(con):
    """Every head of both models and operators within 1e-12; the zero head's row is there, all null."""
    names = list(descriptors([1.0]))
    rows = con.execute(f"select model_id, operator, layer, head, {', '.join(names)} from head_descriptors").fetchall()
    assert len(rows) == 2 * 2 * fixture.N_LAYERS * fixture.N_HEADS
    seeds = {"org/one": 0, "org/two": 1}
    n_null_conditions = 0
    for model_id, operator, layer, head, *values in rows:
        sigmas = fixture.spectrum(seeds[model_id], operator, layer, head)
        if (layer, head) == fixture.ZERO_HEAD:
            assert values == [None] * len(names)
            continue
        got, expected = dict(zip(names, values, strict=True)), descriptors(sigmas)
        if expected["condition_number"] is None:
            assert got.pop("condition_number") is expected.pop("condition_number")
            n_null_conditions += 1
        assert got == pytest.approx(expected, rel=REL)
    assert n_null_conditions == 2 * 2 * fixture.N_LAYERS  # head 0 of every layer


@pytest.mark.parametrize(
    ("sigmas", "expected"),
    [
        ([2.0, 2.0, 2.0], {"effective_rank": 3, "stable_rank": 3, "participation_ratio": 3, "anisotropy": 1}),
        ([5.0, 0.0, 0.0], {"effective_rank": 1, "spectral_entropy_nats": 0, "anisotropy": 3}),
        ([3.0, 1.0], {"nuclear_norm": 4, "effective_modes": 4 / 3, "participation_ratio": 100 / 82}),
        ([1e-30, 5e-31], {"effective_modes": 1.5, "stable_rank": 1.25, "condition_number": 2}),
    ],
)
def test_descriptors_by_hand(sigmas, expected):
    """Within 1e-6: sigma is a float32."""
    with duckdb.connect() as fresh:
        for path in sqlfiles.declared():
            if path.stem in ("models", "singular_values", "head_descriptor_rollup") or path.stem in AGGREGATES:
                fresh.execute(path.read_text())
        for model_key in (7, 8):  # the decoy's value would raise every norm
            values = [*sigmas, 1e9] if model_key == 8 else sigmas
            for k, sigma in enumerate(values):
                fresh.execute(
                    "insert into singular_values values (?, 'metric', 0, 0, ?, ?::double)",
                    [model_key, k, sigma],
                )
        fresh.execute((sqlfiles.SQL_DIR / "rollups" / "head_descriptor_rollup.sql").read_text(), {"model_key": 7})
        row = fresh.execute("from head_descriptor_rollup").pl().row(0, named=True)
        assert fresh.execute("select count(*) from head_descriptor_rollup").fetchall() == [(1,)]
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_head_attention_against_loops(con):
    """Means over prompts with their weights; prompts without a two-key query have no say in the three."""
    rows = con.execute("from head_attention").pl().rows(named=True)
    assert len(rows) == 2 * len(fixture.PROMPT_SETS) * fixture.N_LAYERS * fixture.N_HEADS
    frames = {"org/one": fixture.attention_stats(0), "org/two": fixture.attention_stats(1)}
    n_null = 0
    for row in rows:
        prompts = [
            prompt
            for prompt in frames[row["model_id"]].rows(named=True)
            if all(prompt[key] == row[key] for key in ("prompt_set", "layer", "head"))
        ]
        assert row["n_prompts"] == len(prompts) == fixture.PROMPT_SETS[row["prompt_set"]]
        assert row["n_queries"] == sum(prompt["n_queries"] for prompt in prompts)
        assert row["n_multi_queries"] == sum(prompt["n_multi_queries"] for prompt in prompts)
        for stat in fixture.STATS:
            weight = "n_multi_queries" if stat in fixture.MULTI_STATS else "n_queries"
            pairs = [(prompt[stat], prompt[weight]) for prompt in prompts if prompt[stat] is not None]
            if not pairs:
                assert row[stat] is None
                n_null += 1
                continue
            mean = math.fsum(value * n for value, n in pairs) / sum(n for _, n in pairs)
            assert row[stat] == pytest.approx(mean, rel=REL)
    # a model: three stats of head 3 in the one-prompt set, in each layer; layer 0's sink logit in both sets
    assert n_null == 2 * (3 * fixture.N_LAYERS + 2 * fixture.N_HEADS)
