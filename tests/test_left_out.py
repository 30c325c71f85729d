"""A partial result is said: layers with softmax attention that have no rows, and a refusal where they are most."""

import csv
import io

import pytest
import tiny_models
from tiny_ingests import Warehouse
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from eigenhouse.ingest.capture.sites import Unreadable
from eigenhouse.ingest.stages import factors

REASON = "its keys are those of a planted fault"


@pytest.fixture(scope="module")
def three_layers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_models.CONFIGS, "three", ("LlamaConfig", tiny_models.GROUPED | {"num_hidden_layers": 3}))
        return tiny_models.save("three", folder)


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("EIGENHOUSE_CACHE", str(tmp_path / "cache"))
    return Warehouse(tmp_path, "--static-only", "--no-weights", "--variants", "none")


def unreadable(monkeypatch, *layers):
    prove = factors.proven_factors

    def planted(site, single):
        if any(f".{layer}." in site.path for layer in layers):
            raise Unreadable(REASON)
        return prove(site, single)

    monkeypatch.setattr(factors, "proven_factors", planted)


def left_out(house):
    """The column of `make models`, for each model."""
    from typer.testing import CliRunner

    from eigenhouse import __main__ as command_line

    done = CliRunner().invoke(command_line.app, ["models", "--warehouse", str(house.path), "--format", "csv"])
    return [row["left_out"] for row in csv.DictReader(io.StringIO(done.stdout))]


def test_one_layer_of_three_is_said(three_layers, house, monkeypatch):
    """In the closing summary and in `models`, with its number and reason; the others are measured."""
    unreadable(monkeypatch, 1)
    status, said = house.run(three_layers)
    assert status == 0 and f"left out: 1 of 3 layers, first 1: {REASON}" in said
    assert left_out(house) == [f"1 of 3 layers: {REASON}"]
    assert house.ask("select layer from layers where is_measured order by all") == [(0,), (2,)]


def test_most_layers_are_refused_unless_they_are_asked_for(three_layers, house, monkeypatch):
    unreadable(monkeypatch, 0, 2)
    status, said = house.run(three_layers)
    assert status == 1 and "2 of 3 can't be measured, layer 0 first" in said and REASON in said and "PARTIAL=1" in said
    assert house.ask("select count(*) from models") == [(0,)]
    status, said = house.run(three_layers, "--partial")
    assert status == 0 and f"left out: 2 of 3 layers, first 0: {REASON}" in said
    assert left_out(house) == [f"2 of 3 layers: {REASON}"]


def test_a_layer_that_never_attends_is_told_by_its_module(three_layers, house, monkeypatch):
    """No kernel is called in it and no config tells of it: the class of its attention does."""
    forward = LlamaDecoderLayer.forward
    monkeypatch.setattr(
        LlamaDecoderLayer,
        "forward",
        lambda layer, states, *a, **k: states if layer.self_attn.layer_idx == 1 else forward(layer, states, *a, **k),
    )
    status, said = house.run(three_layers)
    assert status == 0 and "left out: 1 of 3 layers, first 1: no attention scores were seen in it" in said
    assert house.ask("select attention_kind from layers where not is_measured") == [("full",)]


def test_layers_of_linear_attention_are_not_left_out(tmp_path, house):
    """Two of three layers, as the config has it: nothing is missing, and nothing is refused."""
    status, said = house.run(tiny_models.save("gated q_proj, hybrid", tmp_path / "hybrid"))
    assert status == 0 and "left out" not in said and left_out(house) == [""]
