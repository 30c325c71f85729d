"""Where the matrices of a stack's layer stand in the model, and how each is read: two parameters in memory at a time.

Of a layer's stacked experts that is all of them. Layers that share one module (ALBERT) each have their own rows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

import numpy as np

from eigenhouse.ingest.capture.stacks import Stack, own_layer
from eigenhouse.ingest.capture.workbench import Workbench
from eigenhouse.ingest.models.loading import LoadedModel
from eigenhouse.ingest.models.matrices import Mlp, Piece, find_mlp

Item = TypeVar("Item")
END = object()


def stack_of(bench: Workbench, name: str) -> Stack:
    """The stack whose files stand in the folder of this name."""
    return bench.stacks[int(name.removeprefix("stack"))]


def folder_of(number: int) -> str:
    return f"stack{number}"


def mlp_of(bench: Workbench, stack: Stack, layer: int, max_experts: int | None) -> Mlp:
    """Of the closest module around the layer's attention that has one; of the whole layer where it isn't measured."""
    whole, attention = layer_path(bench, stack, layer), ""
    path = whole
    if layer in stack.sites:
        attention = bench.sites[stack.sites[layer]].path
        path = max(attention.rpartition(".")[0], whole, key=len)
    while True:
        module = bench.loaded.model.get_submodule(path)
        mlp = find_mlp(module, path, _hidden_size(bench, stack), max_experts, without=attention)
        if mlp.pieces or len(path) <= len(whole):
            return mlp
        path = path.rpartition(".")[0]


def layer_path(bench: Workbench, stack: Stack, layer: int) -> str:
    """The stack's list element: the layer's own, or the one that several layers share."""
    if not stack.prefix:
        return ""
    if layer not in stack.sites:
        return f"{stack.prefix}.{layer}"
    return own_layer(stack, bench.sites[stack.sites[layer]].path).removesuffix(".")


def _hidden_size(bench: Workbench, stack: Stack) -> int:
    return bench.sites[next(iter(stack.sites.values()))].hidden_size


def matrices(loaded: LoadedModel, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, np.ndarray]]:
    """Each piece as (outputs, inputs); a parameter that several lie in is read once, while those before are used."""
    groups = [(parameter, [*members]) for parameter, members in groupby(pieces, key=lambda piece: piece.parameter)]
    values_of = ahead(loaded.weight(parameter) for parameter, _ in groups)
    for (_, members), values in zip(groups, values_of, strict=True):
        for piece in members:
            yield piece, piece.cut(values)


def ahead(items: Iterable[Item]) -> Generator[Item]:
    """The items in their order, each made in a thread while the one before it is used: two exist at a time.

    An error comes where its item would. Whoever stops early closes `items`, once the item in the making is made.
    """
    iterator = iter(items)
    try:
        with ThreadPoolExecutor(1, "reading ahead") as thread:
            coming = thread.submit(next, iterator, END)
            while (item := coming.result()) is not END:
                coming = thread.submit(next, iterator, END)
                yield item  # type: ignore[misc]
    finally:
        getattr(iterator, "close", lambda: None)()
