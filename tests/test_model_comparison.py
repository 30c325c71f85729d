"""The table that a report opens with: one row a model, each number where its view has it."""

import statistics

import pytest
from experiment_fixture import BY_ID, MODELS
from test_saved_queries import effective_rank

from eigenhouse.analyses.answers import asking, formats, saved

REL = 1e-9


@pytest.fixture(scope="module")
def compared(experiments):
    query = saved.find("model_comparison")
    asking.ask(experiments, query.sql, query.bind({}))
    rows = list(formats.records(experiments))
    assert [row["model_id"] for row in rows] == sorted(BY_ID)
    return {row["model_id"]: row for row in rows}


def test_a_row_a_model_with_its_shape_and_rank(compared):
    for toy in MODELS:
        row = compared[toy.model_id]
        assert row["shape"] == f"{toy.n_layers} × {toy.n_heads} × {toy.head_dim}"
        assert row["hidden_size"] == toy.hidden_size
        ranks = [effective_rank(values) for (operator, *_), values in toy.sigma.items() if operator == "metric"]
        median = statistics.median(rank for rank in ranks if rank is not None)
        assert row["median_effective_rank"] == pytest.approx(median, rel=REL)


@pytest.mark.parametrize(
    ("view", "where", "columns"),
    [
        (
            "best_descriptors",
            "target = 'entropy_nats' and operator = 'metric' and coalesce(prompt_set, 'odd@ffffffff') = 'odd@ffffffff'",
            {"descriptor": "best_predictor", "pearson_r": "pearson_r", "pearson_low": "pearson_low"},
        ),
        (
            "rescale_summary",
            "operator = 'metric' and anchor = 'best' and coalesce(prompt_set, 'odd@ffffffff') = 'odd@ffffffff'",
            {"anchor_layer": "anchor_layer", "verdict": "rescaled", "mean_residual": "mean_residual"},
        ),
        (
            "overlap_summary_mean_head",
            "side = 'key'",
            {"adjacent_mean": "adjacent_overlap", "distant_mean": "distant_overlap", "chance": "chance_overlap"},
        ),
    ],
)
def test_what_other_views_say(experiments, compared, view, where, columns):
    said = experiments.execute(f"select model_id, {', '.join(columns)} from {view} where {where}").fetchall()
    assert {model_id for model_id, *_ in said} <= set(BY_ID)
    assert len({model_id for model_id, *_ in said}) == len(said) > 5
    rows = {model_id: values for model_id, *values in said}
    for model_id, row in compared.items():
        found = [row[name] for name in columns.values()]
        assert found == [value if isinstance(value, str) or value is None else pytest.approx(value, rel=REL)
                         for value in rows.get(model_id, [None] * len(found))]  # fmt: skip


def test_the_operator_is_compared_with_the_same_anchor(experiments, compared):
    for model_id, row in compared.items():
        said = experiments.execute(
            "select verdict_others, mean_cosine_to_others from operator_verdicts"
            " where operator = 'metric' and model_id = ? and anchor_layer = ?",
            [model_id, row["anchor_layer"]],
        ).fetchall()
        [(verdict, mean)] = said
        assert row["same_operator"] == verdict
        assert row["mean_cosine_to_others"] == (mean and pytest.approx(mean, rel=REL))
