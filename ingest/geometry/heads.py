"""The factors of one layer's heads on a device, with their Grams: what every measurement of a head starts from.

The metric of a head is M = W_Kᵀ W_Q: the score of query token x_i against key token x_j is ∝ x_jᵀ M x_i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from eigenhouse.ingest.devices import CPU

Array = np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Change:
    """What a variant makes of the factor W (head, feature, hidden) of one side: [T W diag(γ), b].

    turn T (head or 1, feature, feature) · gain γ (hidden,) · bias b (head, feature); None leaves that part out.
    """

    turn: np.ndarray | None = None
    gain: np.ndarray | None = None
    bias: np.ndarray | None = None

    def factor(self, weight: Array) -> torch.Tensor:
        """[T W diag(γ), b] in float64 on the weight's device."""
        changed = torch.as_tensor(weight).double()
        if self.gain is not None:
            changed = changed * _like(self.gain, changed)
        if self.turn is not None:
            changed = _like(self.turn, changed) @ changed
        if self.bias is not None:
            changed = torch.cat([changed, _like(self.bias, changed)[..., None]], dim=-1)
        return changed

    @property
    def is_gain(self) -> bool:
        """Whether it is a gain at most."""
        return self.turn is None and self.bias is None

    @property
    def is_shared(self) -> bool:
        """Whether it is a turn that all heads have in common, and nothing else but a gain."""
        return self.bias is None and (self.turn is None or len(self.turn) == 1)

    def transposed(self) -> Change:
        """Tᵀ in place of T."""
        return Change(None if self.turn is None else self.turn.swapaxes(-1, -2))

    def of_heads(self, heads: slice) -> Change:
        """The same for some of the heads."""
        turn, bias = self.turn, self.bias
        if turn is not None and len(turn) > 1:
            turn = turn[heads]
        return replace(self, turn=turn, bias=None if bias is None else bias[heads])


@dataclass(frozen=True)
class Recipe:
    """A variant's operator as a change of both factors of the plain one; both sides have one gain."""

    query: Change
    key: Change

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return self.query.is_gain and self.key.is_gain and self.query.gain is None and self.key.gain is None

    def of_heads(self, queries: slice, keys: slice) -> Recipe:
        return Recipe(self.query.of_heads(queries), self.key.of_heads(keys))


PLAIN = Recipe(Change(), Change())


@dataclass(frozen=True)
class HeadGrams:
    """W_Q W_Qᵀ by head, W_K W_Kᵀ by key head and W_K W_Qᵀ by head, (…, feature, feature) float64.

    No product for a cross stack, whose sides read different spaces.
    """

    query: torch.Tensor
    key: torch.Tensor
    product: torch.Tensor | None


class LayerHeads:
    """Factors of one layer's heads in float64; key heads are shared by their group: query head h reads h // (H/G).

    w_q (head, feature, hidden) · w_k (kv head, feature, hidden of the key side). All results are (head, …) tensors on
    the factors' device. is_cross: the sides read different spaces, so there is no trace, no eigenvalue and no head
    product.
    """

    def __init__(self, w_q: torch.Tensor, w_k: torch.Tensor, is_cross: bool = False, recipe: Recipe | None = None):
        self._base, self._recipe, self.is_cross = (w_q, w_k), recipe, is_cross

    @classmethod
    def of(cls, w_q: Array, w_k: Array, is_cross: bool = False, device: torch.device = CPU) -> LayerHeads:
        """Raises ValueError where the two sides can't belong to one layer."""
        if w_q.ndim != 3 or w_k.ndim != 3 or w_q.shape[1] != w_k.shape[1] or len(w_q) % len(w_k):
            raise ValueError(
                "want w_q (heads, head_dim, hidden) and w_k (kv heads, head_dim, hidden) with kv heads dividing heads; "
                f"got {tuple(w_q.shape)} and {tuple(w_k.shape)} (stored transposed?)"
            )
        sides = [to_device(weight, device) for weight in (w_q, w_k)]
        return cls(sides[0], sides[1], is_cross)

    def changed(self, recipe: Recipe) -> LayerHeads:
        """The heads of a variant. Its Grams are made of these heads' Grams, unless it has a gain of hidden features."""
        heads = LayerHeads(*self._base, self.is_cross, recipe)
        if recipe.query.gain is None and recipe.key.gain is None:
            heads.__dict__["grams"] = self._changed_grams(recipe)
        return heads

    def _changed_grams(self, recipe: Recipe) -> HeadGrams:
        query, key, grams = recipe.query, recipe.key, self.grams
        product = None
        if grams.product is not None:
            product = between(grams.product, self._of_query_heads(key), query)
        return HeadGrams(between(grams.query, query, query), between(grams.key, key, key), product)

    def _of_query_heads(self, change: Change) -> Change:
        """A change of key heads, said of each query head's."""
        numbers = np.arange(self.n_heads) // self.group
        turn, bias = change.turn, change.bias
        if turn is not None and len(turn) > 1:
            turn = turn[numbers]
        return replace(change, turn=turn, bias=None if bias is None else bias[numbers])

    @property
    def n_heads(self) -> int:
        return len(self._base[0])

    @property
    def group(self) -> int:
        """Query heads a key head."""
        return self.n_heads // len(self._base[1])

    @property
    def n_features(self) -> int:
        return int(self._base[0].shape[1])

    @property
    def hidden_size(self) -> int:
        """Of the query side, with the column that a bias adds."""
        return int(self._base[0].shape[2]) + (self._recipe is not None and self._recipe.query.bias is not None)

    @property
    def key_hidden_size(self) -> int:
        return int(self._base[1].shape[2]) + (self._recipe is not None and self._recipe.key.bias is not None)

    @cached_property
    def w_q(self) -> torch.Tensor:
        return self._base[0] if self._recipe is None else self._recipe.query.factor(self._base[0])

    @cached_property
    def w_k(self) -> torch.Tensor:
        return self._base[1] if self._recipe is None else self._recipe.key.factor(self._base[1])

    def head(self, number: int) -> LayerHeads:
        """One query head, with its key head."""
        query, key = slice(number, number + 1), slice(number // self.group, number // self.group + 1)
        recipe = self._recipe and self._recipe.of_heads(query, key)
        return LayerHeads(self._base[0][query], self._base[1][key], self.is_cross, recipe)

    def per_query_head(self, of_key_heads: torch.Tensor) -> torch.Tensor:
        return of_key_heads.repeat_interleave(self.group, dim=0)

    def _on_key_heads(self, rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """rows (head, n, …) times the matrix of each head's key head; its group's rows stand below one another."""
        return (rows.unflatten(0, (-1, self.group)).flatten(1, 2) @ matrices).view(*rows.shape[:2], -1)

    def of_keys(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Combinations of a head's rows of W_K: (head, n, feature) → (head, n, hidden)."""
        return self._on_key_heads(coefficients, self.w_k)

    def of_both(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Combinations of a head's rows of [W_K; W_Q]: (head, n, 2 feature) → (head, n, hidden)."""
        of_keys, of_queries = coefficients.split(self.n_features, dim=-1)
        return self.of_keys(of_keys.contiguous()) + of_queries @ self.w_q

    def with_keys(self, rows: torch.Tensor) -> torch.Tensor:
        """rows W_Kᵀ for each head: (head, n, hidden) → (head, n, feature)."""
        return self._on_key_heads(rows, self.w_k.mT)

    def factor_products(self) -> torch.Tensor:
        """Σ W_K ∘ W_Q of every head, (head,): the metric's trace, not by way of a Gram."""
        queries = self.w_q.unflatten(0, (-1, self.group)).flatten(2)
        return (queries @ self.w_k.flatten(1)[..., None]).flatten()

    @cached_property
    def grams(self) -> HeadGrams:
        product = None if self.is_cross else self.with_keys(self.w_q).mT
        return HeadGrams(self.w_q @ self.w_q.mT, self.w_k @ self.w_k.mT, product)

    @property
    def joint_rows(self) -> torch.Tensor:
        """[W_K; W_Q], (head, 2 feature, hidden)."""
        return torch.cat([self.per_query_head(self.w_k), self.w_q], dim=1)

    @property
    def joint_gram(self) -> torch.Tensor:
        """The Gram of these rows, (head, 2 feature, 2 feature)."""
        assert self.grams.product is not None, "the sides of a cross stack can't be joined"
        upper = torch.cat([self.per_query_head(self.grams.key), self.grams.product], dim=-1)
        return torch.cat([upper, torch.cat([self.grams.product.mT, self.grams.query], dim=-1)], dim=-2)


def keys_of(queries: slice, group: int) -> slice:
    """The key heads that a block of query heads reads."""
    return slice(queries.start // group, (queries.stop - 1) // group + 1)


def to_device(array: Array, device: torch.device) -> torch.Tensor:
    """In float64; copied to the device in the type that it has, so that little passes the bus."""
    tensor = array if isinstance(array, torch.Tensor) else torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return tensor.to(device).double()


def _like(array: np.ndarray, tensor: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(array, dtype=tensor.dtype, device=tensor.device)


def between(product: torch.Tensor, left: Change, right: Change) -> torch.Tensor:
    """T_l (W_l W_rᵀ) T_rᵀ + b_l b_rᵀ, given W_l W_rᵀ."""
    if left.turn is not None:
        product = _like(left.turn, product) @ product
    if right.turn is not None:
        product = product @ _like(right.turn, product).mT
    if left.bias is not None and right.bias is not None:
        product = product + _like(left.bias, product)[..., :, None] * _like(right.bias, product)[..., None, :]
    return product
