"""Equalities that hold for every head, whatever its weights; a measurement that breaks one is not written.

Each compares numbers that were computed in different ways: by QR and SVD, by eigh of the doubled core, by Grams.
"""

from __future__ import annotations

import numpy as np

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry.spectra import LayerHeads

TOLERANCE = 1e-9  # of the quantity's own scale, in float64


def check_spectra(
    heads: LayerHeads,
    norms: dict[str, np.ndarray],
    metric: tuple[np.ndarray, np.ndarray, np.ndarray],
    eigen: tuple[np.ndarray, np.ndarray] | None,
    where: str,
) -> None:
    """Raise EigenhouseError naming the identity, head and size of the break; `where` names model and layer.

    Σσ² = ‖M‖² · Σλ = tr M · Σλ² = (‖M‖² + tr((W_Q W_Kᵀ)²))/2 · effective rank ≤ c · u_kᵀ M v_k = σ_k through the
    factors, sides not swapped · ‖S v − λ v‖ = 0.
    """
    u, sigma, v = metric
    fro_sq = norms["metric_fro_sq"]
    _check(
        "sum of squared singular values = squared Frobenius norm",
        np.square(sigma).sum(-1) - fro_sq,
        fro_sq,
        where,
    )
    _check(
        "effective rank <= head_dim",
        np.maximum(0, effective_rank(sigma) - heads.w_q.shape[1]),
        sigma[:, 0] * 0 + 1,
        where,
    )
    w_k = heads.per_query_head(heads.w_k)
    for k in sorted({0, sigma.shape[1] // 2, sigma.shape[1] - 1}):
        reached = np.einsum("hcd,hd,hce,he->h", w_k, u[:, :, k], heads.w_q, v[:, :, k], optimize=True)
        _check(f"u_kᵀ M v_k = sigma_k at k={k}", reached - sigma[:, k], sigma[:, 0], where)
    if eigen is None:
        return
    values, vectors = eigen
    products = heads.head_products
    half = (fro_sq + np.einsum("hij,hji->h", products, products)) / 2
    _check("sum of eigenvalues = trace", values.sum(-1) - norms["trace"], np.abs(values).sum(-1), where)
    _check("sum of squared eigenvalues = (|M|² + tr(P²))/2", np.square(values).sum(-1) - half, fro_sq, where)
    for k in sorted({0, vectors.shape[1] - 1}):
        vector = vectors[:, k]
        image = (_apply(w_k, heads.w_q, vector) + _apply(heads.w_q, w_k, vector)) / 2
        rest = np.linalg.norm(image - values[:, k, None] * vector, axis=-1)
        _check(f"S v = lambda v at k={k}", rest, np.abs(values[:, 0]), where)


def check_grams(grams: np.ndarray, fro_sq: np.ndarray, sampled: tuple[int, int, float], where: str) -> None:
    """The diagonal of one head's grams is ‖M‖² (layer,); one entry equals `sampled` (row, column, value)."""
    _check("gram diagonal = squared Frobenius norm", np.diag(grams) - fro_sq, fro_sq, where)
    row, column, value = sampled
    scale = np.sqrt(fro_sq[row] * fro_sq[column])
    _check("gram = direct inner product", np.array([grams[row, column] - value]), np.array([scale]), where)


def direct_gram(w_q: np.ndarray, w_k: np.ndarray, other_q: np.ndarray, other_k: np.ndarray) -> float:
    """⟨M, M'⟩_F = tr(W_Qᵀ W_K W_K'ᵀ W_Q') summed the other way round: through the columns of the hidden space."""
    left, right = w_k.astype(np.float64) @ other_k.astype(np.float64).T, other_q.astype(np.float64)
    return float(np.einsum("cd,cd->", w_q.astype(np.float64), left @ right))


def effective_rank(sigma: np.ndarray) -> np.ndarray:
    """exp of the entropy of the normalized spectrum, last axis; 0 for an all-zero one (Roy & Vetterli 2007)."""
    total = sigma.sum(-1, keepdims=True)
    shares = sigma / np.where(total > 0, total, 1)
    logs = np.log(np.where(shares > 0, shares, 1))
    return np.where(total[..., 0] > 0, np.exp(-(shares * logs).sum(-1)), 0)


def _apply(w_k: np.ndarray, w_q: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """W_Kᵀ W_Q v by head."""
    return np.einsum("hcd,hc->hd", w_k, np.einsum("hcd,hd->hc", w_q, vector))


def _check(name: str, difference: np.ndarray, scale: np.ndarray, where: str) -> None:
    broken = ~(np.abs(difference) <= TOLERANCE * np.maximum(scale, np.finfo(np.float64).tiny))
    if broken.any():
        head = int(np.argmax(broken))
        raise EigenhouseError(
            f"want {name} at {where}, head {head}; got a difference of {difference[head]:.3g} on a scale of "
            f"{scale[head]:.3g}: a fault of Eigenhouse or of this machine's linear algebra; nothing was written"
        )
