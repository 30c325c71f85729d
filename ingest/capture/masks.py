"""Masks that are never held whole: which keys each query may look at, worked out rows at a time.

transformers makes a mask of (text, 1, query, key) floats for the eager kernel, 4 GB for 32,768 tokens. Ours is handed
through the model in its place and knows its shape; our kernel asks it for a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeGuard

import torch
from torch.utils._pytree import tree_map_only
from transformers.masking_utils import eager_mask, sdpa_mask

FORBIDDEN = -9.9e3  # models add at most this to the score of a masked key: old ones -10,000, new ones the least float
ROWS_AT_A_TIME = 2**20  # entries of a mask


class View(NamedTuple):
    """What some queries may look at.

    keys: outside of it none of them may look at any · clear: within `keys`, each may look at all · is_allowed: bool,
    broadcast to (text, head, query, key of `keys`).
    """

    keys: slice
    clear: slice
    is_allowed: torch.Tensor


class Mask(torch.Tensor):
    """The mask that transformers' eager_mask makes, made whole only if a model computes with it.

    Its bound is then that of the eager mask; it is so in models that add a bias to it.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    build: dict[str, Any]
    own: torch.Tensor | None

    @staticmethod
    def __new__(cls, **build: Any) -> Mask:
        shape = (build["batch_size"], 1, build["q_length"], build["kv_length"])
        made = torch.Tensor._make_wrapper_subclass(
            cls, shape, dtype=build["dtype"], device=torch.device(build["device"])
        )
        made.build, made.own = build, None
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        args, kwargs = tree_map_only(Mask, lambda mask: mask.whole, (args, kwargs or {}))
        return func(*args, **kwargs)

    @property
    def whole(self) -> torch.Tensor:
        """Made once: a model that writes into its mask finds there what it wrote."""
        if self.own is None:
            self.own = eager_mask(**self.build)
        return self.own

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Whether the queries [start, stop) may look at each key: (text, 1, query, key)."""
        skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        first = self.build.get("q_offset", 0) + start
        made = sdpa_mask(**self.build | skips | {"q_length": stop - start, "q_offset": first})
        assert made is not None, "a mask whose skips are off is always made"
        return made

    @cached_property
    def spans(self) -> Spans:
        return Spans.of(self)


class Spans(NamedTuple):
    """Of each query its first allowed key and the one behind its last.

    first, stop: (text or 1, 1, query, 1) int32 where the mask is · of_any, of_all: (first, stop) of each query over
    all texts, the widest and the narrowest, on the host · is_whole: no query is kept from a key between the two.
    """

    first: torch.Tensor
    stop: torch.Tensor
    of_any: tuple[list[int], list[int]]
    of_all: tuple[list[int], list[int]]
    is_whole: bool

    @classmethod
    def of(cls, mask: Mask) -> Spans:
        """Copied to the host once a mask, which all layers share."""
        n_texts, _, n_queries, n_keys = mask.shape
        step = max(1, ROWS_AT_A_TIME // (n_texts * n_keys))
        # filled in place: small tensors kept between the large ones of each step would leave holes of their size
        first, stop, n_allowed = torch.empty(3, n_texts, 1, n_queries, 1, dtype=torch.int32, device=mask.device)
        keys = torch.arange(n_keys, dtype=torch.int32, device=mask.device)
        for start in range(0, n_queries, step):
            some = slice(start, start + step)
            rows = mask.rows(start, min(start + step, n_queries))
            first[:, :, some] = torch.where(rows, keys, n_keys).amin(-1, keepdim=True)
            stop[:, :, some] = torch.where(rows, keys + 1, 0).amax(-1, keepdim=True)
            n_allowed[:, :, some] = rows.sum(-1, keepdim=True)
        is_whole = ((stop - first).clamp(min=0) == n_allowed).all()
        is_shared = (first == first[:1]).all() & (stop == stop[:1]).all()
        whole, shared = torch.stack([is_whole, is_shared]).tolist()
        if shared:
            first, stop = first[:1], stop[:1]
        bounds = [first.amin(0), stop.amax(0), first.amax(0), stop.amin(0)]
        a, b, c, d = torch.stack(bounds).flatten(1).tolist()
        return cls(first, stop, (a, b), (c, d), whole)


def lazy_mask(
    batch_size: int, q_length: int, kv_length: int, allow_is_bidirectional_skip: bool = False, **options: Any
) -> Mask | None:
    """In place of eager_mask; None where that gives none."""
    build: dict[str, Any] = {"dtype": torch.float32, "device": "cpu", **options}
    build.pop("allow_is_causal_skip", None)
    build |= {"batch_size": batch_size, "q_length": q_length, "kv_length": kv_length}
    one_row = partial(eager_mask, **build | {"q_length": 1})
    if allow_is_bidirectional_skip and one_row(allow_is_bidirectional_skip=True) is None:
        return None
    return Mask(**build)


def view(mask: torch.Tensor | None, n_keys: int, start: int, stop: int, device: torch.device) -> View:
    """What the queries [start, stop) of a call may look at."""
    everything = slice(0, n_keys)
    if mask is None:
        return View(everything, everything, torch.ones(1, 1, 1, n_keys, dtype=torch.bool, device=device))
    if not is_lazy(mask):
        given = rows_of(mask, start, stop)[..., :n_keys]
        return View(everything, slice(0, 0), given if given.dtype == torch.bool else given > FORBIDDEN)
    spans = mask.spans
    keys = _keys(spans.of_any, n_keys, start, stop)
    if not spans.is_whole:
        return View(keys, slice(0, 0), mask.rows(start, stop)[..., keys])
    numbers = torch.arange(keys.start, keys.stop, dtype=torch.int32, device=device)
    is_allowed = (numbers >= spans.first[..., start:stop, :]) & (numbers < spans.stop[..., start:stop, :])
    clear_from, clear_to = max(spans.of_all[0][start:stop]), min(spans.of_all[1][start:stop])
    clear = slice(clear_from - keys.start, clear_to - keys.start) if clear_from < clear_to else slice(0, 0)
    return View(keys, clear, is_allowed)


def n_keys_seen(mask: torch.Tensor | None, n_keys: int, start: int, stop: int) -> int:
    """How many keys a view of these queries holds."""
    if mask is None or not is_lazy(mask):
        return n_keys
    keys = _keys(mask.spans.of_any, n_keys, start, stop)
    return keys.stop - keys.start


def _keys(spans: tuple[list[int], list[int]], n_keys: int, start: int, stop: int) -> slice:
    first, last = min(spans[0][start:stop]), min(max(spans[1][start:stop]), n_keys)
    return slice(first, last) if first < last else slice(0, 1)  # queries that see nothing: padding


def is_lazy(mask: torch.Tensor) -> TypeGuard[Mask]:
    """Whether its rows are still to be made."""
    return isinstance(mask, Mask) and mask.own is None


def rows_of(tensor: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """The rows of queries, of a tensor that may have one row for all of them."""
    return tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]


def steps(n_queries: int, fits: Any) -> Iterator[tuple[int, int]]:
    """Queries cut into blocks [start, stop) that fit, each as long as it may be up to a factor of two."""
    start, step = 0, n_queries
    while start < n_queries:
        step = min(2 * step, n_queries - start)
        while step > 1 and not fits(start, start + step):
            step = -(-step // 2)
        yield start, start + step
        start += step
