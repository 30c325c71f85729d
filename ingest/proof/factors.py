"""W_Q and W_K of a layer's heads, and all that the model does between them and q·k at position 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class HeadNorm:
    """A q-norm or k-norm: gain * v / rms(v) + offset, over one head's features or over all heads' together.

    gain, offset (head, feature) · is_centred: the mean is taken off first (LayerNorm).
    """

    gain: np.ndarray
    offset: np.ndarray
    eps: float
    is_centred: bool
    spans_heads: bool

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """rows (position, head, feature) → the same shape, float64."""
        return self.gain * self._centred(rows) / self.rms(rows) + self.offset

    def rms(self, rows: np.ndarray) -> np.ndarray:
        """The divisor of rows (position, head, feature), with axes of length 1 where it is the same for all."""
        axes = (-2, -1) if self.spans_heads else (-1,)
        return np.sqrt(np.square(self._centred(rows)).mean(axis=axes, keepdims=True) + self.eps)

    def _centred(self, rows: np.ndarray) -> np.ndarray:
        axes = (-2, -1) if self.spans_heads else (-1,)
        return rows - rows.mean(axis=axes, keepdims=True) if self.is_centred else rows


@dataclass(frozen=True)
class Latent:
    """A norm between two projections (latent attention): up norm(down x + offset) in place of up (down x + offset).

    down (latent, hidden) · offset (latent,) · up (head, feature, latent), rows of zeros for features beside the latent.
    """

    down: np.ndarray
    offset: np.ndarray
    up: np.ndarray
    norm: HeadNorm | None = None  # of one head

    def beyond_linear(self, x: np.ndarray) -> np.ndarray:
        """What the norm adds to the linear map, (position, head, feature) float64."""
        assert self.norm is not None, "read from the running module before it is applied"
        z = x.astype(np.float64) @ self.down.T.astype(np.float64) + self.offset
        return np.einsum("nr,hcr->nhc", self.norm(z[:, None])[:, 0] - z, self.up.astype(np.float64), optimize=True)


@dataclass(frozen=True)
class HeadFactors:
    """The factors of one layer's heads as the model's projections apply them; query head h reads key head h // (H/G).

    w_q (head, feature, hidden) · w_k (kv head, feature, hidden) · b_q, b_k (head, feature), zero where the model has
    none · layout: the cut that gave them · q_scale, k_scale: the module's own factors on q and k · rope_scale
    (feature,): the rotary module's attention scaling on the dimensions it rotates, 1 elsewhere · norm_follows_rope: the
    norm comes after the rotation · latent_q, latent_k: set if w_q or w_k is a product with a norm in between ·
    n_position: features at the end that are for positions alone (latent attention) · clip: the bound on the entries of
    q and k, bias included · bias_moves: what is added depends on the position; b_q and b_k are of position 0. The
    metric is made of the content of w_q and w_k alone; the rest serves to prove them against captured q and k.
    """

    w_q: np.ndarray
    w_k: np.ndarray
    b_q: np.ndarray
    b_k: np.ndarray
    layout: str
    norm_q: HeadNorm | None = None
    norm_k: HeadNorm | None = None
    q_scale: float = 1.0
    k_scale: float = 1.0
    rope_scale: np.ndarray | None = None
    norm_follows_rope: bool = False
    latent_q: Latent | None = None
    latent_k: Latent | None = None
    n_position: int = 0
    clip: float | None = None
    bias_moves: bool = False

    @property
    def n_content(self) -> int:
        """Features that the metric is made of: all but those for positions alone."""
        return self.w_q.shape[1] - self.n_position

    def content(self, pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A pair like (w_q, w_k) without the features for positions alone."""
        return pair[0][:, : self.n_content], pair[1][:, : self.n_content]

    def query(self, x: np.ndarray) -> np.ndarray:
        """Captured q at position 0 of hidden states x (position, hidden): (position, head, feature) float64."""
        return self._apply(x, self.w_q, self.b_q, self.norm_q, self.latent_q) * self.q_scale

    def key(self, x: np.ndarray) -> np.ndarray:
        """Captured k at position 0, (position, kv head, feature) float64."""
        return self._apply(x, self.w_k, self.b_k, self.norm_k, self.latent_k) * self.k_scale

    def doubled(self) -> HeadFactors:
        """The same in float64: converted once, not in every product."""
        return replace(self, w_q=_double(self.w_q), w_k=_double(self.w_k))

    def without_matrices(self) -> HeadFactors:
        """The same without W_Q and W_K: all that is kept in memory of a layer while the next one is proved."""
        none = np.zeros((*self.w_q.shape[:2], 0), np.float32), np.zeros((*self.w_k.shape[:2], 0), np.float32)
        return replace(self, w_q=none[0], w_k=none[1], latent_q=None, latent_k=None)

    def linear_part(self) -> HeadFactors:
        """The same without bias, norms and clip: a module with identity norms, less its response to 0."""
        zero_q, zero_k = np.zeros_like(self.b_q), np.zeros_like(self.b_k)
        return replace(self, b_q=zero_q, b_k=zero_k, norm_q=None, norm_k=None, latent_q=None, latent_k=None, clip=None)

    def _apply(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, norm: HeadNorm | None, latent: Latent | None
    ) -> np.ndarray:
        rows = projected(x, weight) + bias
        if latent is not None:
            rows = rows + latent.beyond_linear(x)
        if self.clip is not None:
            rows = rows.clip(-self.clip, self.clip)
        scale = 1.0 if self.rope_scale is None else self.rope_scale
        if norm is None:
            return rows * scale
        return norm(rows * scale) if self.norm_follows_rope else norm(rows) * scale


def projected(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """W x of every head: x (row, hidden), weight (head, feature, hidden) → (row, head, feature) float64."""
    flat = torch.from_numpy(_double(weight)).flatten(0, 1)
    return (torch.from_numpy(_double(x)) @ flat.mT).unflatten(1, weight.shape[:2]).numpy()


def _double(values: np.ndarray) -> np.ndarray:
    """In float64 and in order, without a copy if it is so already."""
    return np.ascontiguousarray(values, dtype=np.float64)
