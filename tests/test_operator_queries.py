"""The saved queries on operators of two layers: what they compute beyond the views, and which anchor they take."""

from itertools import combinations

import experiment_fixture as fixture
import numpy as np
import pytest
from test_operator_views import REL, agreements, is_zero, layer_pairs, mean, operator_cosine

from eigenhouse.analyses.answers import saved

DEEP = [toy for toy in fixture.MODELS if len(toy.layers) > 1]
ANCHORED = {
    "operator_cosines_to_anchor": "cosine",
    "eigenspace_angles_by_layer": "mean_cosine",
    "top_eigenvector_overlap": "top1_overlap",
}


def ask(con, name, **given):
    query = saved.find(name)
    con.execute(query.sql, query.bind(given))
    names = [column[0] for column in con.description]
    return [dict(zip(names, row, strict=True)) for row in con.fetchall()]


def of_pair(toy, name, head, layer, other):
    """What the query draws of one head."""
    if name == "operator_cosines_to_anchor":
        return operator_cosine(toy, head, layer, other)
    if is_zero(toy, layer, head) or is_zero(toy, other, head):
        return None
    at = (head, min(layer, other), max(layer, other))
    return mean(toy.cosine[at]) if name == "eigenspace_angles_by_layer" else toy.top1_overlap[at]


@pytest.mark.parametrize("name", ANCHORED)
@pytest.mark.parametrize(("anchor", "layer_of"), [("last", lambda toy: toy.layers[-1]), ("2", lambda toy: 2)])
def test_lines_to_an_anchor(experiments, name, anchor, layer_of):
    """A line a head and one of their mean, by name or number of the anchor, at which all of them are broken."""
    wanted = {}
    for toy in DEEP:
        there = layer_of(toy)
        for layer in toy.layers if there in toy.layers else ():
            heads = range(min(toy.heads_of[layer], toy.heads_of[there]))
            values = [None if layer == there else of_pair(toy, name, head, layer, there) for head in heads]
            for head, value in zip(heads, values, strict=True):
                wanted[toy.model_id, there, layer, head, "one head"] = (value, 1)
            n_heads = sum(value is not None for value in values)
            wanted[toy.model_id, there, layer, None, "mean over heads"] = (mean(values), n_heads)
    found = {
        tuple(row[key] for key in ("model_id", "anchor_layer", "layer", "head", "series")): row
        for row in ask(experiments, name, anchor=anchor)
        if row["series"] != "chance" and row["model_id"] != "org/one"
    }
    assert found.keys() == wanted.keys()
    for key, (value, n_heads) in wanted.items():
        value = value if value is None else pytest.approx(value, rel=REL, abs=1e-12)
        assert (found[key][ANCHORED[name]], found[key]["n_heads"]) == (value, n_heads), key


def test_signs_to_an_anchor(experiments):
    """Strata without another layer than the anchor are left out; both series side by side."""
    wanted = {}
    for toy in DEEP:
        anchor, groups = toy.layers[len(toy.layers) // 2], {}
        for (there, layer, _, k), numbers in agreements(toy).items():
            if there == anchor != layer and numbers[0] is not None:
                groups.setdefault((toy.stratum(layer), k), []).append(numbers)
        for (stratum, k), found in groups.items():
            for place, series in enumerate(("measured", "by shares alone")):
                wanted[toy.model_id, anchor, stratum, k, series] = mean(numbers[place] for numbers in found)
    found = ask(experiments, "sign_agreement_by_k", anchor="middle")
    keys = ("model_id", "anchor_layer", "stratum", "k", "series")
    assert {tuple(row[key] for key in keys): row["agreement"] for row in found} == pytest.approx(wanted, rel=REL)


def test_mean_positive_mass(experiments):
    found = {}
    for row in ask(experiments, "positive_mass_by_layer"):
        found.setdefault((row["model_id"], row["layer"]), {})[row["head"]] = (row["positive_mass"], row["n_heads"])
    assert found.keys() == {(toy.model_id, layer) for toy in fixture.MODELS for layer in toy.layers}
    for shares in found.values():
        overall, n_heads = shares.pop(None)
        there = [share for share, _ in shares.values() if share is not None]
        assert (overall, n_heads) == (pytest.approx(mean(there), rel=REL), len(there))


def null_cosine(toy):
    """The mean cosine over pairs of the null spectra of the model's shape."""
    shape = (toy.hidden_size, toy.head_dim)
    spectra = [np.array(sigma) for (*at, _), sigma in fixture.null_sigma().items() if (*at,) == shape]
    return mean(one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in combinations(spectra, 2))


def test_spectra_and_operators_by_distance(experiments):
    """Means of the view's rows over the pairs of a distance, each beside its chance."""
    experiments.execute("select columns(*) from spectrum_against_operator where layer < other_layer")
    names = [column[0] for column in experiments.description]
    groups = {}
    for row in (dict(zip(names, row, strict=True)) for row in experiments.fetchall()):
        groups.setdefault((row["model_id"], row["distance"]), []).append(row)
    wanted = {}
    for (model_id, distance), rows in groups.items():
        wanted[model_id, distance, "spectra", "measured"] = mean(row["mean_shape_cosine"] for row in rows)
        wanted[model_id, distance, "operators", "measured"] = mean(row["mean_operator_cosine"] for row in rows)
        wanted[model_id, distance, "spectra", "chance"] = null_cosine(fixture.BY_ID[model_id])
        wanted[model_id, distance, "operators", "chance"] = 0
    found = ask(experiments, "spectrum_against_operator")
    keys = ("model_id", "distance", "object", "series")
    assert {tuple(row[key] for key in keys): row["cosine"] for row in found} == pytest.approx(wanted, rel=REL)
    assert {row["model_id"] for row in found} == {toy.model_id for toy in DEEP}


def test_the_matrix_leaves_out_its_diagonal(experiments):
    found = {(row["model_id"], row["layer"], row["other_layer"]) for row in ask(experiments, "operator_cosine_matrix")}
    assert found == {
        (toy.model_id, layer, other) for toy in DEEP for layer, other in layer_pairs(toy) if layer != other
    }
