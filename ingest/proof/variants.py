"""Variants: further operators of a head, whose factors hold more of the model than its projections.

metric_folded: the gain of the norm that feeds attention · metric_biased: the biases, as one more column ·
metric_qk_normed: the gains of q- and k-norm · metric_position: the features for positions alone · metric_rope_Δ: the
rotation between a query Δ tokens after its key.
Each is proved against the model's own logits before it counts, as the plain factors are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from eigenhouse.ingest.capture.sites import KEY_POSITION, Site, Unreadable
from eigenhouse.ingest.geometry import operators
from eigenhouse.ingest.geometry.heads import Change, Recipe
from eigenhouse.ingest.proof.conformance import N_PAIRS, TOLERANCE, Pair, logits, relative_error, rotation
from eigenhouse.ingest.proof.factors import HeadFactors, HeadNorm, Latent, projected
from eigenhouse.ingest.proof.norms import read_input_norm
from eigenhouse.ingest.proof.responses import GAIN, captured, identity_norms


class NotThere(Exception):
    """The variant does not apply to a module; the message says why."""


def normed(weight: np.ndarray, norm: HeadNorm) -> np.ndarray:
    """Rows times the norm's gains, their mean over the features taken off first where the norm does so.

    The data-dependent root mean square is left out, and an offset too.
    """
    if norm.is_centred:
        axes = (0, 1) if norm.spans_heads else (1,)
        weight = weight - weight.mean(axis=axes, keepdims=True)
    return norm.gain[..., None] * weight


def _turn_of(norm: HeadNorm) -> np.ndarray:
    """`normed` as a turn, (head, feature, feature): of a norm that looks at one head's features."""
    eye = np.eye(norm.gain.shape[1])
    return norm.gain[..., None] * (eye - eye.mean(0) if norm.is_centred else eye)


def _mixes_heads(norm: HeadNorm | None) -> bool:
    """Whether it takes off a mean over all heads: what it makes of a head depends on the others."""
    return norm is not None and norm.is_centred and norm.spans_heads


def latent_normed(weight: np.ndarray, latent: Latent) -> np.ndarray:
    """W (head, feature, hidden) with the gains of the norm in its middle, whose mean is taken off if it does so."""
    assert latent.norm is not None
    return weight + latent.up @ (normed(latent.down[None], latent.norm)[0] - latent.down)


@dataclass(frozen=True)
class Layer:
    """One module with its proven factors, and what the proofs of its variants need.

    single: the same module recorded at one position, where that can be · far: recorded over more positions than the
    farthest rotation; None if it has no rotation.
    """

    site: Site
    single: Site
    factors: HeadFactors
    norm: nn.Module | None  # the one before attention, within the layer
    far: Site | None

    def variant(self, name: str) -> Pair | Recipe:
        """What makes a variant's factors of the content of the plain ones, or its own pair where they don't suffice.

        Raises NotThere where it doesn't apply or isn't reproduced.
        """
        distance = operators.distance(name)
        made: Callable[[], tuple[Pair | Recipe, np.ndarray]] = {
            "folded": self._folded, "biased": self._biased, "qk_normed": self._qk_normed, "position": self._position,
        }.get(name, lambda: self._turned(distance))  # fmt: skip
        try:
            found, errors = made()
        except Unreadable as reason:
            raise NotThere(str(reason)) from reason
        if not errors.max() <= TOLERANCE:
            raise NotThere(f"its factors are off by {errors.max():.3g} of the largest logit")
        return found

    def _rows(self, size: int = 2 * N_PAIRS) -> np.ndarray:
        return np.random.default_rng(17).standard_normal((size, self.site.hidden_size))

    def _error(self, theirs: Pair, ours: Pair) -> np.ndarray:
        """By head, of every query of the first half against every key of the second."""
        half = len(theirs[0]) // 2
        return relative_error(*(logits(q[:half], k[half:]) for q, k in (theirs, ours)))

    def _at_zero(self, rows: np.ndarray) -> Pair:
        hidden = np.tile(rows[:, None], (1, self.single.n_positions, 1))
        q, k = captured(self.single, hidden)
        return q[:, :, 0], k[:, :, 0]

    def _made_by(self, recipe: Recipe) -> Pair:
        """The factors that a recipe makes of the layer's own, those of positions included."""
        query, key = recipe.query.factor(self.factors.w_q), recipe.key.factor(self.factors.w_k)
        return query.numpy(), key.numpy()

    def _folded(self) -> tuple[Recipe, np.ndarray]:
        """The model's norm and projections, run one after the other on raw hidden states."""
        if self.norm is None:
            raise NotThere("no norm in the layer's own block makes the hidden states that its attention reads")
        like = self.site.call.query
        norm = read_input_norm(self.norm, torch.zeros(1, self.site.hidden_size, device=like.device, dtype=like.dtype))
        recipe = Recipe(Change(gain=norm.gain[0]), Change(gain=norm.gain[0]))
        pair = self._made_by(recipe)
        raw = GAIN * self._rows()
        with torch.no_grad():
            fed = self.norm(torch.from_numpy(raw).to(like.device, like.dtype)[None])[0].double().cpu().numpy()
        with identity_norms(self.site):
            zero, theirs = self._at_zero(norm.offset), self._at_zero(fed)
        theirs = theirs[0] - zero[0], theirs[1] - zero[1]
        bare = replace(norm, gain=np.ones_like(norm.gain), offset=np.zeros_like(norm.offset))
        unit = bare(raw[:, None])[:, 0]
        ours = replace(self.factors.linear_part(), w_q=pair[0], w_k=pair[1])
        return recipe, self._error(theirs, (ours.query(unit), ours.key(unit)))

    def _biased(self) -> tuple[Recipe, np.ndarray]:
        factors = self.factors
        if not (factors.b_q.any() or factors.b_k.any()):
            raise NotThere("its projections of queries and keys have no bias")
        if factors.bias_moves:
            raise NotThere("what is added to its queries and keys depends on their positions")
        sides = [
            np.array(np.broadcast_to(b, w.shape[:2]))
            for b, w in ((factors.b_q, factors.w_q), (factors.b_k, factors.w_k))
        ]
        pair = self._made_by(Recipe(*(Change(bias=bias) for bias in sides)))
        rows = self._rows()
        with identity_norms(self.site):
            theirs = self._at_zero(rows)
        ours = replace(factors.linear_part(), w_q=pair[0], w_k=pair[1], b_q=0 * factors.b_q, b_k=0 * factors.b_k)
        with_one = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        content = Recipe(*(Change(bias=bias[:, : factors.n_content]) for bias in sides))
        return content, self._error(theirs, (ours.query(with_one), ours.key(with_one)))

    def _qk_normed(self) -> tuple[Pair | Recipe, np.ndarray]:
        """The captured q and k, times the root mean square that the norm divided by."""
        factors = self.factors
        if not any((factors.norm_q, factors.norm_k, factors.latent_q, factors.latent_k)):
            raise NotThere("it has no q-norm and no k-norm")
        rows, w_q, w_k = self._rows(), factors.w_q, factors.w_k
        query = self._side_normed(rows, w_q, factors.b_q, factors.norm_q, factors.latent_q)
        key = self._side_normed(rows, w_k, factors.b_k, factors.norm_k, factors.latent_k)
        answers = query[1] * factors.q_scale, key[1] * factors.k_scale
        content = slice(factors.n_content)
        theirs, ours = ((q[..., content], k[..., content]) for q, k in (self._at_zero(rows), answers))
        error = self._error(theirs, ours)
        norms = factors.norm_q, factors.norm_k
        if any(map(_mixes_heads, norms)) or factors.n_position or factors.latent_q or factors.latent_k:
            return factors.content((query[0], key[0])), error
        return Recipe(*(Change(turn=None if norm is None else _turn_of(norm)) for norm in norms)), error

    def _side_normed(
        self, rows: np.ndarray, weight: np.ndarray, bias: np.ndarray, norm: HeadNorm | None, latent: Latent | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The variant's factor of one side, and from it what the module must have answered to the rows."""
        rope = np.ones(weight.shape[1]) if self.factors.rope_scale is None else self.factors.rope_scale
        raw = projected(rows, weight) + bias
        if latent is not None and latent.norm is not None and norm is None:
            factor, z = latent_normed(weight, latent), rows @ latent.down.T + latent.offset
            # features that don't come from the latent are for positions alone, and the caller cuts them off
            linear = projected(rows, factor)
            linear = linear + latent.up @ normed(latent.offset[None, :, None], latent.norm)[0, :, 0]
            return factor, linear / latent.norm.rms(z[:, None]) + latent.up @ latent.norm.offset[0]
        if norm is None:
            return weight, raw * rope
        factor = normed(weight, norm) if _mixes_heads(norm) else Change(turn=_turn_of(norm)).factor(weight).numpy()
        linear = projected(rows, factor) + normed(bias[..., None], norm)[..., 0]
        into = raw * (rope if self.factors.norm_follows_rope else 1.0)
        answer = linear * rope / norm.rms(into) + norm.offset * (1.0 if self.factors.norm_follows_rope else rope)
        return factor, answer

    def _position(self) -> tuple[Pair, np.ndarray]:
        """All heads share the keys' features for positions alone."""
        content, rows = self.factors.n_content, self._rows()
        if not self.factors.n_position:
            raise NotThere("none of its features are for positions alone")
        w_q, w_k = self.factors.w_q, self.factors.w_k
        pair = w_q[:, content:], w_k[:1, content:]
        with identity_norms(self.site):
            zeros, theirs = self._at_zero(0 * rows), self._at_zero(rows)
        q, k = (answer[..., content:] - zero[..., content:] for answer, zero in zip(theirs, zeros, strict=True))
        scale, none = self.factors.rope_scale, np.zeros(1)
        ours = replace(
            self.factors.linear_part(), w_q=pair[0], w_k=pair[1], b_q=none, b_k=none,
            rope_scale=None if scale is None else scale[content:],
        )  # fmt: skip
        return pair, self._error((q, k), (ours.query(rows), ours.key(rows)))

    def _turned(self, distance: int) -> tuple[Pair | Recipe, np.ndarray]:
        """R read from positions 0 and Δ, proved between positions 3 and 3 + Δ."""
        if self.far is None:
            raise NotThere("it has no rotary positions")
        if self.far.n_positions <= distance + KEY_POSITION:
            raise NotThere(f"it can't be run at {distance + KEY_POSITION + 1} positions")
        rows, q, k = self._far_answers
        scale = np.ones(self.factors.w_q.shape[1]) if self.factors.rope_scale is None else self.factors.rope_scale
        turn = rotation(q, k, distance)
        # a row vector is turned from the right: q_Δ = q_0 T; the scaling stands on both sides of it
        recipe = Recipe(Change(turn=(scale[:, None] * (scale[:, None] * turn).T)[None]), Change())
        pair = self._made_by(recipe)
        ours = replace(self.factors.linear_part(), w_q=pair[0], w_k=pair[1], rope_scale=None)
        theirs = q[:, :, distance + KEY_POSITION], k[:, :, KEY_POSITION]
        # the plain factors of latent attention lack the features for positions alone
        return pair if self.factors.n_position else recipe, self._error(theirs, (ours.query(rows), ours.key(rows)))

    @cached_property
    def _far_answers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hidden states, and the linear part of q and k that they give at every position, (row, head, position, …)."""
        assert self.far is not None
        n_heads, n_kv_heads, head_dim = (len(self.factors.w_q), len(self.factors.w_k), self.factors.w_q.shape[1])
        rows = self._rows(max(2 * N_PAIRS, -(-3 * head_dim // (n_heads + n_kv_heads))))
        hidden = np.tile(GAIN * rows[:, None], (1, self.far.n_positions, 1))
        with identity_norms(self.far):
            zeros, answers = captured(self.far, 0 * hidden[:1]), captured(self.far, hidden)
        q, k = ((answer - zero) / GAIN for answer, zero in zip(answers, zeros, strict=True))
        return rows, q, k
