"""Which parameters of a transformers layer are q, k, v, o, gate, up and down, and how each is cut out of storage.

Only names, shapes and module types are read here, so a skeleton without weights will do. q and k are not searched,
because the proven factors are those matrices. v and o follow the layout that proved the factors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn
from transformers.pytorch_utils import Conv1D

from eigenhouse.ingest.models.parameter_names import FAMILIES, OUTPUTS, VALUES

SHARED_EXPERT = -1


@dataclass(frozen=True)
class Piece:
    """One weight matrix: which part of which parameter it is. `cut` gives it as (outputs, inputs).

    weight: q, k, v, o, gate, up or down · expert: 0 where there is none, SHARED_EXPERT for one that all tokens use ·
    index: where the parameter stacks the experts · rows: (start, stop, step) of the outputs, where gate and up are one.
    """

    weight: str
    parameter: str
    expert: int = 0
    is_transposed: bool = False
    index: int | None = None
    rows: tuple[int, int, int] | None = None

    def cut(self, parameter: np.ndarray) -> np.ndarray:
        matrix = parameter if self.index is None else parameter[self.index]
        matrix = matrix.T if self.is_transposed else matrix
        return matrix if self.rows is None else matrix[slice(*self.rows)]


@dataclass(frozen=True)
class Mlp:
    """The pieces of a layer's MLP that are to be measured, sorted so that those of one parameter are neighbours.

    left_out: module → why some of its experts are not among them.
    """

    pieces: tuple[Piece, ...]
    left_out: Mapping[str, str]


def find_mlp(layer: nn.Module, path: str, hidden_size: int, max_experts: int | None, without: str = "") -> Mlp:
    """The MLP matrices within a layer module at `path`; `without` is its attention module, which is not searched.

    max_experts: how many experts are kept, evenly spaced; None keeps all. A dense MLP beside experts is one that all
    tokens share. No pieces where no known family is there, or where its matrices don't read `hidden_size` features.
    """
    inner = f"{without.removeprefix(path).lstrip('.')}." if without else None
    named = layer.named_parameters(remove_duplicate=False)
    shapes = {name: tuple(value.shape) for name, value in named if inner is None or not name.startswith(inner)}
    places = {prefix: list(_place(layer, prefix, names, shapes, hidden_size)) for prefix, names in _places(shapes)}
    has_experts = any(piece.index is not None or "experts." in prefix for prefix in places for piece in places[prefix])
    left_out: dict[str, str] = {}
    pieces: dict[tuple[str, int], Piece] = {}
    for prefix, members in places.items():
        if has_experts and "experts" not in prefix and all(piece.index is None for piece in members):
            members = [replace(piece, expert=SHARED_EXPERT) for piece in members]
        if any((piece.weight, piece.expert) in pieces for piece in members):
            left_out[_join(path, prefix.rstrip("."))] = "another MLP of the same layer has its rows"
            continue
        pieces |= {(piece.weight, piece.expert): piece for piece in members}
    numbers = sorted({expert for _, expert in pieces if expert != SHARED_EXPERT})
    kept = [numbers[i] for i in evenly_spaced(len(numbers), max_experts)]
    if len(kept) < len(numbers):
        first = next(piece.parameter for piece in pieces.values() if piece.expert != SHARED_EXPERT)
        module = _join(path, re.sub(r"(?<=\bexperts)\..*", "", first))
        which = f"{len(kept)} of {len(numbers)} experts are measured ({', '.join(map(str, kept))})"
        left_out[module] = f"{which}; EXPERTS=all measures the others"
    chosen = [piece for piece in pieces.values() if piece.expert in {*kept, SHARED_EXPERT}]
    moved = [replace(piece, parameter=_join(path, piece.parameter)) for piece in chosen]
    return Mlp(tuple(sorted(moved, key=lambda piece: (piece.parameter, piece.expert, piece.weight))), left_out)


def _join(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part)


def evenly_spaced(n: int, n_wanted: int | None) -> list[int]:
    """`n_wanted` of 0 … n−1 at equal steps from 0, or all of them."""
    return list(range(n)) if n_wanted is None or n <= n_wanted else [i * n // n_wanted for i in range(n_wanted)]


def _places(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, dict[str, str]]]:
    """(prefix, role → parameter) wherever in a layer a family is complete; one family a place."""
    prefixes = {name.rsplit(".", depth)[0] + "." for name in shapes for depth in (1, 2, 3) if name.count(".") >= depth}
    for prefix in sorted(prefixes | {""}):
        for family in FAMILIES:
            parameters = {role: _parameter(f"{prefix}{name}", shapes) for role, name in family.items()}
            if all(parameters.values()):
                yield prefix, {role: name for role, name in parameters.items() if name}
                break


def _parameter(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The name of a module's weight, or of a parameter without a module; vectors don't count."""
    return next((full for full in (f"{name}.weight", name) if len(shapes.get(full, ())) in (2, 3)), None)


def _place(
    layer: nn.Module, prefix: str, names: dict[str, str], shapes: Mapping[str, tuple[int, ...]], hidden_size: int
) -> Iterator[Piece]:
    """The pieces of one MLP: its matrices, cut apart where two are stored as one or experts are stacked."""
    holder = layer.get_submodule(prefix.rstrip("."))
    turned = {
        role: _is_transposed(layer, holder, name, shapes[name], role, hidden_size) for role, name in names.items()
    }
    outer = {role: shapes[name][-2:][:: -1 if turned[role] else 1] for role, name in names.items()}
    if outer["up"][1] != hidden_size:
        return
    n_stacked = shapes[names["up"]][0] if len(shapes[names["up"]]) == 3 else None
    for role, name in names.items():
        is_doubled = role == "up" and "gate" not in names and outer["up"][0] == 2 * outer["down"][1]
        for index in range(n_stacked) if n_stacked else (None,):
            expert = _expert(prefix) if index is None else index
            for weight, rows in _halves(holder, outer["up"][0]) if is_doubled else ((role, None),):
                yield Piece(weight, name, expert, turned[role], index, rows)


def _halves(holder: nn.Module, n_rows: int) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """gate in front of up, as everywhere in transformers, except experts whose module says they are interleaved."""
    if getattr(holder, "is_concatenated", True):
        return ("gate", (0, n_rows // 2, 1)), ("up", (n_rows // 2, n_rows, 1))
    return ("gate", (0, n_rows, 2)), ("up", (1, n_rows, 2))


def _is_transposed(
    layer: nn.Module, holder: nn.Module, name: str, shape: tuple[int, ...], role: str, hidden_size: int
) -> bool:
    """Whether the parameter is stored (inputs, outputs): its module decides, else the axis that has the hidden size."""
    module: Any = layer.get_submodule(name.rpartition(".")[0])
    if isinstance(module, nn.Linear):
        return False
    if isinstance(module, Conv1D):
        return True
    if hasattr(holder, "is_transposed"):
        return bool(holder.is_transposed)
    out_size, in_size = shape[-2:]
    if role == "down":
        return out_size != hidden_size and in_size == hidden_size
    return in_size != hidden_size and out_size == hidden_size


def _expert(prefix: str) -> int:
    numbered = re.search(r"experts\.(\d+)\.$", prefix)
    if numbered:
        return int(numbered[1])
    return SHARED_EXPERT if re.search(r"shared_(experts?|mlp)\.", prefix) else 0


def find_value_and_output(
    attention: nn.Module, parent: nn.Module, paths: tuple[str, str], layout: str
) -> tuple[dict[str, Piece], bool]:
    """v and o of an attention module, as far as they have a known name, and whether v shares a parameter with q and k.

    paths: of the module and of the one around it, where BERT has its o · layout: how the factors were found.
    """
    pieces: dict[str, Piece] = {}
    is_fused = "[" in layout or "(" in layout
    values = (layout.split(" ")[0],) if is_fused else VALUES
    for weight, names, modules in (("v", values, (attention,)), ("o", OUTPUTS, (attention, parent))):
        for module, path in zip(modules, paths, strict=False):
            own = {name for name, value in module.named_parameters() if value.dim() == 2}
            name = next((name for name in names if f"{name}.weight" in own), None)
            if name and weight not in pieces:
                is_transposed = isinstance(module.get_submodule(name), Conv1D) and not (is_fused and weight == "v")
                pieces[weight] = Piece(weight, f"{path}.{name}.weight", is_transposed=is_transposed)
    return pieces, is_fused and "v" in pieces
