"""The sentences below the charts: one file a charted query, at most one sentence a model, none empty."""

import re

import experiment_fixture as fixture
import pytest

from eigenhouse.analyses.answers import asking, saved
from eigenhouse.ingest.warehouse import sqlfiles

VERDICTS = sqlfiles.files("verdicts")


def test_every_chart_has_a_verdict_and_every_verdict_a_query():
    charted = {query.name for query in saved.every() if query.chart and "model" in query.parameters}
    named = {path.stem for path in VERDICTS}
    assert charted - named == set()
    assert named - {query.name for query in saved.every()} == set()


@pytest.mark.parametrize("path", VERDICTS, ids=lambda path: path.stem)
def test_a_verdict_is_one_sentence_a_model(experiments, path):
    """Run for all models and for each alone: the same sentences, of models that there are."""
    assert sqlfiles.header(path)["about"].strip()
    known = {name for (name,) in experiments.execute("select model_id from models").fetchall()}
    every = sentences(experiments, path, {})
    assert set(every) <= known and every
    for name in known:
        expected = {name: every[name]} if name in every else {}
        assert sentences(experiments, path, {"model": name}) == expected


def sentences(con, path, given):
    """The query first, since its rows are what a verdict reads."""
    query = saved.find(path.stem)
    asking.ask(con, query.sql, query.bind(given), keep=True)
    asking.ask(con, path.read_text(encoding="utf-8"), query.bind(given))
    assert [column[0] for column in con.description] == ["model_id", "sentence"]
    rows = con.fetchall()
    assert len({model_id for model_id, _ in rows}) == len(rows)
    for model_id, sentence in rows:
        assert model_id
        assert re.search(r"\w.*[.!?]$", sentence.strip(), re.DOTALL), (model_id, sentence)
        assert not re.search(r"\b(nan|None|inf)\b", sentence), (model_id, sentence)
    return dict(rows)


def test_a_verdict_reads_the_answer_of_its_query():
    """But for those that need what their query's rows have lost: single heads, other models, other intervals."""
    others = {path.stem for path in VERDICTS if not re.search(r"\b(from|join) answer\b", path.read_text())}
    assert others == {
        "best_matches", "entropy_and_rank_by_head", "ffn_alignment_by_layer", "layer_profile",
        "metric_against_head_product", "singular_spectrum", "training", "weight_effective_ranks",
    }  # fmt: skip


def test_an_extreme_is_of_a_head_that_has_a_value(experiments):
    """org/zero's zero head has no eigenvalues to share: a null is neither the largest nor the smallest."""
    shares = {
        place: sum(value for value in values if value > 0) / sum(map(abs, values))
        for place, values in fixture.BY_ID["org/zero"].eigenvalue.items()
        if any(values)
    }
    assert len(shares) == len(fixture.BY_ID["org/zero"].heads) - 1
    path = sqlfiles.SQL_DIR / "verdicts" / "positive_mass_by_layer.sql"
    sentence = sentences(experiments, path, {})["org/zero"]
    for place in (min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)):
        assert f"{100 * shares[place]:.1f}% (layer {place[0]}, head {place[1]})" in sentence
