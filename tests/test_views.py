"""What holds for every view: its header keeps its promises, filters reach the scans, models leave each other alone."""

import json

import duckdb
import experiment_fixture as fixture
import pytest

from eigenhouse.ingest.warehouse import sqlfiles

VIEWS = sqlfiles.files("views")
every_view = pytest.mark.parametrize("path", VIEWS, ids=lambda path: path.stem)
ROW_GROUP = 2048  # DuckDB's smallest: a filter that reaches a scan skips whole groups
N_COPIES = 40


@every_view
def test_view_keeps_its_promises(experiments, path):
    meta = sqlfiles.header(path)
    names = [row[0] for row in experiments.execute(f"describe {path.stem}").fetchall()]
    assert names == meta["grain"] + list(meta["columns"])
    assert names[0] == "model_id"
    keys = ", ".join(meta["grain"])
    counts = f"select count(*), count(distinct ({keys})), count(distinct model_id) from {path.stem}"
    [[n_rows, n_keys, n_models]] = experiments.execute(counts).fetchall()
    assert n_rows == n_keys > 0
    assert n_models > 1


@every_view
def test_view_has_no_nan(experiments, path):
    """NaN sorts above every number, and no mean survives it; what is undefined is null."""
    columns = experiments.execute(f"describe {path.stem}").fetchall()
    for name, kind, *_ in columns:
        if kind in ("DOUBLE", "FLOAT"):
            bad = f"select count(*) from {path.stem} where not isfinite({name})"
            assert experiments.execute(bad).fetchall() == [(0,)], name


@every_view
def test_a_model_answers_alone_as_among_others(experiments, path):
    """The filter on model_id leaves exactly the model's rows: nothing is compared across models."""
    keys = ", ".join(sqlfiles.header(path)["grain"])
    for model_id in ("org/main", "org/hybrid"):
        of_all = f"from (select * from {path.stem}) as found where md5(model_id) = md5($model_id) order by {keys}"
        alone = f"from {path.stem} where model_id = $model_id order by {keys}"
        both = [experiments.execute(sql, {"model_id": model_id}).fetchall() for sql in (of_all, alone)]
        assert len(both[0]) == len(both[1])
        for whole, part in zip(*both, strict=True):
            for of_whole, of_part in zip(whole, part, strict=True):
                is_number = isinstance(of_whole, float)
                assert of_part == (pytest.approx(of_whole, rel=1e-9, abs=1e-12) if is_number else of_whole)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Many copies of one model in small row groups, so that what a filter lets a scan skip can be counted."""
    folder = tmp_path_factory.mktemp("crowd")
    fixture.build(folder / "one.duckdb", folder / "staged", [fixture.BY_ID["org/main"]])
    with duckdb.connect() as con:
        con.execute(f"attach '{folder}/one.duckdb' as one (read_only)")
        con.execute(f"attach '{folder}/many.duckdb' as many (row_group_size {ROW_GROUP})")
        con.execute("copy from database one to many (schema)")
        con.execute("use many")
        for table, meta in sqlfiles.tables().items():
            source = f"from one.{table}"
            if "model_key" in meta["columns"]:
                renamed = {"models": ", 'org/copy' || copy as model_id", "ingest_runs": ", run_id || copy as run_id"}
                columns = f"origin.* replace (copy as model_key{renamed.get(table, '')})"
                source = f"select {columns} from range({N_COPIES}) copies(copy), one.{table} origin order by copy"
            con.execute(f"insert into many.{table} {source}")
        con.execute("checkpoint")
        yield con


def scanned(con, question):
    """Rows that each table's scans read, the most of any scan."""
    con.execute("pragma enable_profiling = 'no_output'")
    con.execute(question).fetchall()
    rows: dict[str, int] = {}

    def walk(operator):
        if operator.get("operator_type") == "TABLE_SCAN" and "Table" in operator["extra_info"]:  # no table function
            table = operator["extra_info"]["Table"].rpartition(".")[2]
            rows[table] = max(rows.get(table, 0), operator["operator_rows_scanned"])
        for child in operator["children"]:
            walk(child)

    walk(json.loads(con.get_profiling_information(format="json")))
    con.execute("pragma disable_profiling")
    return rows


QUESTIONS = {
    **{path.stem: f"select * from {path.stem}" for path in VIEWS},
    **{
        call: f"select * from {call}"
        for call in (
            "spectra()", "sigma_pairs()", "chance_cosines()", "chance_norms()", "zero_heads()",
            "ranks_and_attention()", "gram_pairs('grams')", "with_distance('subspace_overlaps')",
            "by_descriptor('head_predictors')",
        )
    },
    "effective_rank": "select model_id, effective_rank(sigma) from spectra() group by model_id having",
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
@pytest.mark.parametrize("where", ["model_id = 'org/copy7'", "model_id in ('org/copy7', 'org/copy31')"])
def test_a_filter_on_the_model_reaches_the_scans(crowd, question, where):
    """A scan reads the row groups of the models asked for, and no others: of views, and through macros."""
    n_models = where.count("org/")
    scans = scanned(crowd, f"{question}{'' if question.endswith(' having') else ' where'} {where}")
    assert scans
    for table, n_rows in scans.items():
        if "model_key" in sqlfiles.tables()[table]["columns"]:
            [[all_rows]] = crowd.execute(f"select count(*) from {table}").fetchall()
            groups = n_models * (2 + all_rows // N_COPIES // ROW_GROUP)
            assert n_rows <= groups * ROW_GROUP, table
