"""One head's W_Q and W_K, and all that stands between them and the model's q·k at position 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


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
        axes = (-2, -1) if self.spans_heads else (-1,)
        if self.is_centred:
            rows = rows - rows.mean(axis=axes, keepdims=True)
        return self.gain * rows / np.sqrt(np.square(rows).mean(axis=axes, keepdims=True) + self.eps) + self.offset


@dataclass(frozen=True)
class HeadFactors:
    """The factors of one layer's heads as the model's projections apply them; query head h reads key head h // (H/G).

    w_q (head, feature, hidden) · w_k (kv head, feature, hidden) · b_q, b_k (head, feature), zero where the model has
    none · layout: how they were found · q_scale, k_scale: what the module itself multiplies q and k with ·
    rope_scale (feature,): the rotary module's attention scaling on the dimensions it rotates, 1 elsewhere ·
    norm_follows_rope: their order.
    The metric is made of w_q and w_k alone; the rest serves to prove them against captured q and k.
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

    def query(self, x: np.ndarray) -> np.ndarray:
        """Captured q at position 0 of hidden states x (position, hidden): (position, head, feature) float64."""
        return self._apply(x, self.w_q, self.b_q, self.norm_q) * self.q_scale

    def key(self, x: np.ndarray) -> np.ndarray:
        """Captured k at position 0, (position, kv head, feature) float64."""
        return self._apply(x, self.w_k, self.b_k, self.norm_k) * self.k_scale

    def linear_part(self) -> HeadFactors:
        """The same without bias and norms: what a module with identity norms does beyond its response to 0."""
        zero_q, zero_k = np.zeros_like(self.b_q), np.zeros_like(self.b_k)
        return replace(self, b_q=zero_q, b_k=zero_k, norm_q=None, norm_k=None)

    def _apply(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, norm: HeadNorm | None) -> np.ndarray:
        rows = np.einsum("nd,hcd->nhc", x.astype(np.float64), weight.astype(np.float64), optimize=True) + bias
        scale = 1.0 if self.rope_scale is None else self.rope_scale
        if norm is None:
            return rows * scale
        return norm(rows * scale) if self.norm_follows_rope else norm(rows) * scale
