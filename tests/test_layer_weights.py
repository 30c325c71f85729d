"""Which parameters of a layer are its MLP: modules made up for the purpose, each with sizes of its own."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from eigenhouse.ingest.models.matrices import SHARED_EXPERT, evenly_spaced, find_mlp

HIDDEN, INNER = 11, 7


def gated(inner=INNER):
    sizes = {"gate_proj": (HIDDEN, inner), "up_proj": (HIDDEN, inner), "down_proj": (inner, HIDDEN)}
    return nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})


def stacked(n, **attributes):
    module = nn.Module()
    module.gate_up_proj = nn.Parameter(torch.zeros(n, 2 * INNER, HIDDEN))
    module.down_proj = nn.Parameter(torch.zeros(n, HIDDEN, INNER))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def found(layer, **more):
    mlp = find_mlp(layer, "layers.3", HIDDEN, **{"max_experts": None} | more)
    return {(piece.weight, piece.expert): piece for piece in mlp.pieces}, dict(mlp.left_out)


def shapes(layer, pieces):
    parameters = {f"layers.3.{name}": value.detach().numpy() for name, value in layer.named_parameters()}
    return {key: piece.cut(parameters[piece.parameter]).shape for key, piece in pieces.items()}


GATED = {"gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER)}


def test_a_dense_mlp_beside_experts_is_shared():
    """Numbered experts, one shared by name, and a router whose name is 'gate'."""
    experts = nn.ModuleList(gated() for _ in range(12))
    moe = nn.ModuleDict({"experts": experts, "shared_expert": gated(5), "gate": nn.Linear(HIDDEN, 12)})
    pieces, left_out = found(nn.ModuleDict({"moe": moe}), max_experts=3)
    assert {expert for _, expert in pieces} == {SHARED_EXPERT, 0, 4, 8}
    assert pieces["gate", 8].parameter == "layers.3.moe.experts.8.gate_proj.weight"
    assert pieces["up", SHARED_EXPERT].parameter == "layers.3.moe.shared_expert.up_proj.weight"
    assert list(left_out) == ["layers.3.moe.experts"] and "3 of 12" in left_out["layers.3.moe.experts"]
    layer = nn.ModuleDict({"mlp": gated(5), "experts": stacked(2)})
    pieces, left_out = found(layer)
    assert left_out == {} and pieces["gate", SHARED_EXPERT].parameter == "layers.3.mlp.gate_proj.weight"
    expected = {(name, expert): shape for name, shape in GATED.items() for expert in (0, 1)}
    expected |= {("gate", -1): (5, HIDDEN), ("up", -1): (5, HIDDEN), ("down", -1): (HIDDEN, 5)}
    assert shapes(layer, pieces) == expected


def test_a_second_mlp_is_left_out_with_a_reason():
    pieces, left_out = found(nn.ModuleDict({"ff1": gated(), "ff2": gated()}))
    assert {piece.parameter.split(".")[2] for piece in pieces.values()} == {"ff1"}
    assert list(left_out) == ["layers.3.ff2"]


@pytest.mark.parametrize("inner", [INNER, HIDDEN])
def test_the_module_decides_the_orientation_even_where_square(inner):
    """Conv1D stores (inputs, outputs); stacked experts say so themselves."""
    conv = nn.ModuleDict({"c_fc": Conv1D(inner, HIDDEN), "c_proj": Conv1D(HIDDEN, inner)})
    pieces, _ = found(conv)
    assert all(piece.is_transposed for piece in pieces.values())
    assert shapes(conv, pieces) == {("up", 0): (inner, HIDDEN), ("down", 0): (HIDDEN, inner)}
    linear = nn.ModuleDict({"fc1": nn.Linear(HIDDEN, inner), "fc2": nn.Linear(inner, HIDDEN)})
    assert not any(piece.is_transposed for piece in found(linear)[0].values())


def test_two_input_matrices_in_one_are_recognised_by_size():
    """ModernBERT's Wi is twice as wide as its Wo is deep; T5's wi is not."""
    both = nn.ModuleDict({"Wi": nn.Linear(HIDDEN, 2 * INNER), "Wo": nn.Linear(INNER, HIDDEN)})
    assert shapes(both, found(both)[0]) == {(name, 0): shape for name, shape in GATED.items()}
    one = nn.ModuleDict({"wi": nn.Linear(HIDDEN, INNER), "wo": nn.Linear(INNER, HIDDEN)})
    assert sorted(found(one)[0]) == [("down", 0), ("up", 0)]


def test_what_is_no_mlp_of_the_stream_is_left_alone():
    """Another input size, an attention module with an MLP's names, names that nobody knows."""
    assert found(nn.ModuleDict({"fc1": nn.Linear(5, INNER), "fc2": nn.Linear(INNER, 5)})) == ({}, {})
    assert found(nn.ModuleDict({"attn": gated()}), without="layers.3.attn") == ({}, {})
    assert found(nn.ModuleDict({"attn": gated(), "attn2": gated()}), without="layers.3.attn")[1] == {}
    assert found(nn.ModuleDict({"alpha": nn.Linear(HIDDEN, INNER)})) == ({}, {})


def test_evenly_spaced():
    assert evenly_spaced(128, 8) == [0, 16, 32, 48, 64, 80, 96, 112]
    assert evenly_spaced(7, 3) == [0, 2, 4] and evenly_spaced(3, 8) == [0, 1, 2] == evenly_spaced(3, None)
