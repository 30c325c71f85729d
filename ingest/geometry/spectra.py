"""Spectra of one layer's heads from their factors: exact forms of size c, never a hidden × hidden matrix.

Fills `singular_values`, `eigenvalues`, `eigenvectors` and `head_norms`. The metric of a head is M = W_Kᵀ W_Q: the score
of query token x_i against key token x_j is ∝ x_jᵀ M x_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

N_EIGENVECTORS = 16


@dataclass(frozen=True)
class LayerHeads:
    """One layer's factors in float64, key heads shared by their group: query head h reads key head h // (H/G).

    w_q (head, feature, hidden) · w_k (kv head, feature, hidden of the key side). All results are (head, …).
    is_cross: the sides read different spaces, so there is no trace, no eigenvalue and no head product.
    """

    w_q: np.ndarray
    w_k: np.ndarray
    is_cross: bool = False

    @classmethod
    def of(cls, w_q: np.ndarray, w_k: np.ndarray, is_cross: bool = False) -> LayerHeads:
        """Raises ValueError where the two sides can't belong to one layer."""
        if w_q.ndim != 3 or w_k.ndim != 3 or w_q.shape[1] != w_k.shape[1] or len(w_q) % len(w_k):
            raise ValueError(
                "want w_q (heads, head_dim, hidden) and w_k (kv heads, head_dim, hidden) with kv heads dividing heads; "
                f"got {w_q.shape} and {w_k.shape} (stored transposed?)"
            )
        return cls(w_q.astype(np.float64), w_k.astype(np.float64), is_cross)

    def per_query_head(self, kv_array: np.ndarray) -> np.ndarray:
        return np.repeat(kv_array, len(self.w_q) // len(self.w_k), axis=0)

    @cached_property
    def head_products(self) -> np.ndarray:
        """W_K W_Qᵀ, (head, feature, feature)."""
        return self.per_query_head(self.w_k) @ self.w_q.transpose(0, 2, 1)

    @cached_property
    def bases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Q_Q, R_Q of W_Qᵀ = Q_Q R_Q by head and Q_K, R_K by key head: orthonormal columns and what maps to them."""
        return (*np.linalg.qr(self.w_q.transpose(0, 2, 1)), *np.linalg.qr(self.w_k.transpose(0, 2, 1)))


def metric_svd(heads: LayerHeads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M = U diag(σ) Vᵀ: U (head, hidden, k) key side, σ (head, k) descending, V (head, hidden, k) query side.

    k = min(head_dim, hidden). Error: below 1e-13 of the largest σ against the SVD of M in float64.
    Identity: W_Kᵀ = Q_K R_K and W_Qᵀ = Q_Q R_Q give M = Q_K (R_K R_Qᵀ) Q_Qᵀ.
    """
    q_q, r_q, q_k, r_k = heads.bases
    q_k, r_k = heads.per_query_head(q_k), heads.per_query_head(r_k)
    u, sigma, vt = np.linalg.svd(r_k @ r_q.transpose(0, 2, 1), full_matrices=False)
    return q_k @ u, sigma, q_q @ vt.transpose(0, 2, 1)


def head_product_sigma(heads: LayerHeads) -> np.ndarray:
    """σ of the head_dim × head_dim product W_K W_Qᵀ, (head, k) descending. Not the metric's: see definitions."""
    return np.linalg.svd(heads.head_products, compute_uv=False)


def signed_eigen(heads: LayerHeads, n_vectors: int = N_EIGENVECTORS) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of S = (M + Mᵀ)/2 that can be non-zero, (head, min(2c, d)) by falling |λ|, and the leading vectors.

    Vectors (head, vector, hidden) are of unit length, their largest-magnitude component positive. Error: below 1e-13 of
    the largest |λ|. Identity: B = [W_K; W_Q], Bᵀ = U R, S = U (R J Rᵀ) Uᵀ with J = ½ [[0, I], [I, 0]].
    """
    head_dim = heads.w_q.shape[1]
    stacked = np.concatenate([heads.per_query_head(heads.w_k), heads.w_q], axis=1)
    u, r = np.linalg.qr(stacked.transpose(0, 2, 1))
    swapped = np.concatenate([r[..., head_dim:], r[..., :head_dim]], axis=-1)  # R 2J
    core = swapped @ r.transpose(0, 2, 1) / 2
    values, vectors = np.linalg.eigh((core + core.transpose(0, 2, 1)) / 2)
    order = np.argsort(-np.abs(values), axis=-1, kind="stable")
    values = np.take_along_axis(values, order, axis=-1)
    leading = np.take_along_axis(vectors, order[:, None, :n_vectors], axis=-1)
    rows = (u @ leading).transpose(0, 2, 1)
    peaks = np.take_along_axis(rows, np.abs(rows).argmax(axis=-1)[..., None], axis=-1)
    return values, rows * np.where(peaks < 0, -1.0, 1.0)


def head_norms(heads: LayerHeads) -> dict[str, np.ndarray]:
    """Squared Frobenius norms and the trace, (head,) each, from the factors' Grams; no trace for a cross stack."""
    gram_q = heads.w_q @ heads.w_q.transpose(0, 2, 1)
    gram_k = heads.per_query_head(heads.w_k @ heads.w_k.transpose(0, 2, 1))
    norms = {
        "metric_fro_sq": (gram_k * gram_q).sum(axis=(1, 2)),
        "w_q_fro_sq": np.trace(gram_q, axis1=1, axis2=2),
        "w_k_fro_sq": np.trace(gram_k, axis1=1, axis2=2),
    }
    if not heads.is_cross:
        norms["trace"] = np.trace(heads.head_products, axis1=1, axis2=2)
        norms["head_product_fro_sq"] = np.square(heads.head_products).sum(axis=(1, 2))
    return norms
