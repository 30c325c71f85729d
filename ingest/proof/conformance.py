"""The gate: factors count only when they reproduce the model's own q(x)·k(y), head by head.

Five comparisons a head, of which the worst counts: the full logit at position 0, with bias and norms; its linear part
alone, so that a large bias can't hide a wrong weight; queries with queries and keys with keys, so that a zero on one
side can't hide an error on the other; and one pair at real positions, with the model's rotation. If a module bypasses
the attention interface and returns attention weights, our factors must reproduce these too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from eigenhouse.ingest.capture.attention import attention_weights
from eigenhouse.ingest.capture.sites import KEY_POSITION, QUERY_POSITION, Site, Unreadable
from eigenhouse.ingest.proof.basis_vectors import further_scales, read_factors
from eigenhouse.ingest.proof.factors import HeadFactors
from eigenhouse.ingest.proof.layouts import layouts
from eigenhouse.ingest.proof.responses import GAIN, captured, identity_norms, respond
from eigenhouse.ingest.proof.surroundings import read_rope_scale, with_surroundings

TOLERANCE = 1e-3  # of the largest logit over the pairs; float32 modules land near 1e-6
N_PAIRS = 16  # x's, and as many y's: every x meets every y
Pair = tuple[np.ndarray, np.ndarray]  # of queries and keys: W_Q and W_K, or what is made of them


class Evidence:
    """The answers of one module to random inputs, computed once and compared with every candidate."""

    def __init__(self, site: Site, seed: int = 0) -> None:
        n_heads, n_kv_heads, head_dim = (
            site.call.query.shape[1],
            site.call.key.shape[1],
            site.call.query.shape[-1],
        )
        n_rows = max(2 * N_PAIRS, -(-3 * head_dim // (n_heads + n_kv_heads)))
        generator = np.random.default_rng(seed)
        self.x = generator.standard_normal((n_rows, site.hidden_size))
        self.y = generator.standard_normal((n_rows, site.key_hidden_size)) if site.is_cross else self.x
        self.q, self.k = (side[:, :, 0] for side in respond(site, self.x, self.y))
        with identity_norms(site):
            zeros = respond(site, 0 * self.x[:1], 0 * self.y[:1])
            q, k = (side / GAIN for side in respond(site, GAIN * self.x, GAIN * self.y))
            far, near = min(QUERY_POSITION, q.shape[2] - 1), min(KEY_POSITION, k.shape[2] - 1)
            self._require_alone(site, (q, k), {0, far, near})
        q, k = q - zeros[0] / GAIN, k - zeros[1] / GAIN
        self.linear_q, self.linear_k = q[:, :, 0], k[:, :, 0]
        self.far_q, self.near_k = q[:, :, far], k[:, :, near]
        self.turn_q, self.turn_k = rotation(q, k, far), rotation(q, k, near)
        has_bias = any(bool(zero.any()) for zero in zeros)
        self.bias_moves = has_bias and not all(_are_turned(zeros, (q, k), position) for position in (far, near))
        self.reenactment = Reenactment(site, self.x, self.y, q, k) if site.is_traced else None

    def _require_alone(self, site: Site, answers: tuple[np.ndarray, np.ndarray], kept: set[int]) -> None:
        """Raises Unreadable where a head's q or k at one of the kept positions changes with the inputs at others."""
        for position in kept if max(site.n_positions, site.n_key_positions) > 1 else ():
            fed = []
            for rows, n in ((self.x, site.n_positions), (self.y, site.n_key_positions)):
                hidden = np.tile(GAIN * rows[N_PAIRS : 2 * N_PAIRS, None], (1, n, 1))
                hidden[:, position : position + 1] = GAIN * rows[:N_PAIRS, None]
                fed.append(hidden)
            again = captured(site, fed[0], fed[1] if site.is_cross else None)
            for before, after in zip(answers, again, strict=True):
                if position < before.shape[2]:
                    want, got = before[:N_PAIRS, :, position], after[:, :, position] / GAIN
                    largest, moved = (np.abs(side).max(axis=(0, 2)) for side in (want, got - want))
                    if (moved > TOLERANCE * largest).any():
                        raise Unreadable("its q or k at a position depends on the hidden states at others")

    @property
    def n_distinct_keys(self) -> int:
        """The number of key heads, without the copies that a module makes for the query heads of a group."""
        rows, n_heads, n_features = self.linear_k.shape
        for n_distinct in range(1, n_heads):
            if n_heads % n_distinct == 0:
                groups = self.linear_k.reshape(rows, n_distinct, -1, n_features)
                if (groups == groups[:, :, :1]).all():
                    return n_distinct
        return n_heads

    def own_scales(self, cut: HeadFactors) -> tuple[float, float]:
        """The factors that the module itself applies to q and k between projection and scores: one number a side.

        The least-squares ratio of the captured linear part to the cut's, over all heads and inputs at once, so that no
        wrong cut can be scaled into place. A ratio within 1e-5 of 1 is rounding and counts as 1. So does 0:
        a module that answers 0 to everything proves nothing.
        """
        plain = replace(cut.linear_part(), q_scale=1.0, k_scale=1.0)
        sides = ((self.linear_q, plain.query(self.x)), (self.linear_k, plain.key(self.y)))
        spread = [(theirs, np.repeat(ours, theirs.shape[1] // ours.shape[1], axis=1)) for theirs, ours in sides]
        ratios = [float(np.vdot(ours, theirs) / (np.vdot(ours, ours) or 1.0)) for theirs, ours in spread]
        q_scale, k_scale = (1.0 if abs(ratio - 1) < 1e-5 or ratio == 0 else ratio for ratio in ratios)
        return q_scale, k_scale

    def errors(self, factors: HeadFactors) -> np.ndarray:
        """Largest relative error over the pairs, (head,); 0 where a zero head is zero on both sides."""
        one, other = slice(N_PAIRS), slice(N_PAIRS, 2 * N_PAIRS)
        linear = factors.linear_part()
        ours_q, ours_k = linear.query(self.x[: 2 * N_PAIRS]), linear.key(self.y[: 2 * N_PAIRS])
        full = factors.query(self.x[one]), factors.key(self.y[other])
        n_heads = self.q.shape[1]
        their_keys, our_keys = (np.repeat(k, n_heads // k.shape[1], axis=1) for k in (self.linear_k, ours_k))
        pairs = (
            ((self.q[one], self.k[other]), full),
            ((self.linear_q[one], self.linear_k[other]), (ours_q[one], ours_k[other])),
            ((self.linear_q[one], self.linear_q[other]), (ours_q[one], ours_q[other])),
            ((their_keys[one], their_keys[other]), (our_keys[one], our_keys[other])),
            ((self.far_q[one], self.near_k[other]), (ours_q[one] @ self.turn_q, ours_k[other] @ self.turn_k)),
        )
        errors = [relative_error(logits(*theirs), logits(*ours)) for theirs, ours in pairs]
        if self.reenactment is not None:
            errors.append(self.reenactment.errors(factors))
        return np.max(errors, axis=0)


class Reenactment:
    """One text through a module that bypasses the interface: the weights that it returned, against those of factors.

    rows, key_rows: hidden states, one a position · q, k (row, head, position, feature): the module's own, for the same
    hidden states at every position.
    """

    def __init__(self, site: Site, rows: np.ndarray, key_rows: np.ndarray, q: np.ndarray, k: np.ndarray) -> None:
        self.turns = np.stack([rotation(q, k, position) for position in range(site.n_positions)])
        self.rows, self.key_rows = (
            np.resize(side, (site.n_positions, side.shape[1])).astype(np.float32) for side in (rows, key_rows)
        )
        reference = site.call.query
        hidden, key_hidden = (torch.from_numpy(side[None]).to(reference) for side in (self.rows, self.key_rows))
        self.call = site.run(hidden, key_hidden if site.is_cross else None)

    def errors(self, factors: HeadFactors) -> np.ndarray:
        """Largest difference of a weight over the largest weight, (head,); 0 where torch's own kernel returns none."""
        sides = factors.query(self.rows), factors.key(self.key_rows)
        q, k = (np.einsum("nhc,ncf->hnf", side, self.turns, optimize=True)[None] for side in sides)
        if self.call.weights is None:
            return np.zeros(len(q[0]))
        like = self.call.query
        call = replace(self.call, query=torch.from_numpy(q).to(like), key=torch.from_numpy(k).to(like))
        theirs, ours = (
            weights[0].permute(1, 2, 0).cpu().double().numpy()
            for weights in (self.call.weights, attention_weights(call))
        )
        return relative_error(theirs, ours)


def proven_factors(site: Site, single: Site) -> tuple[HeadFactors, np.ndarray]:
    """The factors of one module's heads and each head's relative error, best candidate of all.

    site: recorded over at least QUERY_POSITION + 1 positions; single: the same module at one position. The first layout
    within TOLERANCE wins; where none is, the factors are read out by basis vectors. The caller refuses errors above
    TOLERANCE. Raises Unreadable where the module can't be read at all.
    """
    evidence = Evidence(site)
    rope_scale = read_rope_scale(site)
    parameters = {name: value.detach().float().cpu().numpy() for name, value in site.module.named_parameters()}
    n_heads, n_kv_heads, head_dim = site.call.query.shape[1], site.call.key.shape[1], site.call.query.shape[-1]
    sizes = site.hidden_size, site.key_hidden_size
    for n_keys in dict.fromkeys((n_kv_heads, evidence.n_distinct_keys)):
        for cut in layouts(parameters, n_heads, n_keys, head_dim, sizes):
            factors, errors = _in_order(with_surroundings(cut.doubled(), site, rope_scale), evidence)
            if errors.max() <= TOLERANCE:
                return factors, errors
    read = read_factors(single, rope_scale, further_scales(site, rope_scale))
    return _in_order(with_surroundings(read.doubled(), site, rope_scale), evidence)


def _in_order(factors: HeadFactors, evidence: Evidence) -> tuple[HeadFactors, np.ndarray]:
    """Factors with the module's own scales, and with the better order of norm and rotation if the rotation scales."""
    q_scale, k_scale = evidence.own_scales(factors)
    factors = replace(factors, q_scale=q_scale, k_scale=k_scale, bias_moves=evidence.bias_moves)
    errors = evidence.errors(factors)
    if factors.rope_scale is None or (factors.norm_q is None and factors.norm_k is None):
        return factors, errors
    turned = replace(factors, norm_follows_rope=True)
    turned_errors = evidence.errors(turned)
    return (factors, errors) if errors.max() <= turned_errors.max() else (turned, turned_errors)


def logits(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(query, key, head) of q (query, head, feature) and k (key, kv head, feature)."""
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    return np.einsum("ihc,jhc->ijh", q, k, optimize=True)


def relative_error(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Largest difference of logits (query, key, head) over the largest of theirs, (head,); 0 where both are zero."""
    worst, size = np.abs(ours - theirs).max(axis=(0, 1)), np.abs(theirs).max(axis=(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(worst == 0, 0.0, worst / size)


def _are_turned(zeros: Pair, linear: Pair, position: int) -> bool:
    """Whether the responses to 0 change from position 0 to another only by the rotation of the linear part."""
    q, k = (np.concatenate(parts) for parts in zip(linear, zeros, strict=True))
    turn = rotation(q, k, position)
    at = [(zero[:, :, 0], zero[:, :, position]) for zero in zeros if zero.shape[2] > position]
    return all(np.abs(there - here @ turn).max() <= TOLERANCE * np.abs(here).max() for here, there in at)


def rotation(q: np.ndarray, k: np.ndarray, position: int) -> np.ndarray:
    """The map that takes captured features at position 0 to `position`, (feature, feature), the same for all heads.

    Read from the model's answers alone, so that a wrong cut can't change it; the identity without RoPE.
    """
    n_features = q.shape[-1]
    at_zero, turned = (
        np.concatenate([side[:, :, p].reshape(-1, n_features) for side in (q, k) if side.shape[2] > position])
        for p in (0, position)
    )
    return np.linalg.lstsq(at_zero, turned, rcond=None)[0]
