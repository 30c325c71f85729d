"""Equalities that hold for every head, whatever its weights; a measurement that breaks one is not written.

Each compares numbers that were computed in different ways: from the Grams, and through the factors themselves.
"""

from __future__ import annotations

import numpy as np
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.geometry.heads import LayerHeads
from eigenhouse.ingest.geometry.spectra import COMPLETED, Decomposition

TOLERANCE = 1e-9  # of the quantity's own scale, in float64


def check_sums(
    heads: LayerHeads, norms: dict[str, torch.Tensor], found: Decomposition, where: str, first: int = 0
) -> None:
    """Raise EigenhouseError naming the identity, head and size of the break; `where` names model and layer.

    first: the number of the first of these heads in its layer.
    Σσ² = ‖M‖² · effective rank ≤ c · Σλ = tr M · Σλ² = (‖M‖² + tr((W_Q W_Kᵀ)²))/2.
    """
    fro_sq, sigma = norms["metric_fro_sq"], found.sigma
    _check(
        "sum of squared singular values = squared Frobenius norm", sigma.square().sum(-1) - fro_sq, fro_sq, where, first
    )
    excess = (torch.from_numpy(effective_rank(sigma.cpu().numpy())) - heads.n_features).clamp(min=0)
    _check("effective rank <= head_dim", excess, torch.ones_like(excess), where, first)
    if found.eigenvalues is None:
        return
    values, products = found.eigenvalues, heads.grams.product
    assert products is not None
    half = (fro_sq + (products * products.mT).sum(dim=(1, 2))) / 2
    _check("sum of eigenvalues = trace", values.sum(-1) - norms["trace"], values.abs().sum(-1), where, first)
    _check("sum of squared eigenvalues = (|M|² + tr(P²))/2", values.square().sum(-1) - half, fro_sq, where, first)


def check_through_factors(
    heads: LayerHeads, norms: dict[str, torch.Tensor], found: Decomposition, where: str, first: int = 0
) -> None:
    """Raise EigenhouseError where what came from the Grams isn't so for the factors themselves.

    u_kᵀ M v_k = σ_k for the first, a middle and the last k, sides not swapped · ‖S v − λ v‖ = 0 for the first and the
    last vector, which are of unit length · tr M = Σ W_K ∘ W_Q.
    """
    assert found.key is not None and found.query is not None, "decomposed with vectors"
    w_q, sigma = heads.w_q, found.sigma
    ranks = sorted({0, sigma.shape[1] // 2, sigma.shape[1] - 1})
    u, v = heads.of_keys(found.key[..., ranks].mT.contiguous()), found.query[..., ranks].mT @ w_q
    reached = (heads.with_keys(u) * (v @ w_q.mT)).sum(-1)
    for index, k in enumerate(ranks):
        _check(f"u_kᵀ M v_k = sigma_k at k={k}", reached[:, index] - sigma[:, k], sigma[:, 0], where, first)
    if found.eigenvalues is None or found.eigen is None:
        return
    values = found.eigenvalues
    _check("trace = sum of W_K ∘ W_Q", heads.factor_products() - norms["trace"], values.abs().sum(-1), where, first)
    ranks = sorted({0, found.eigen.shape[-1] - 1})
    z = heads.of_both(found.eigen[..., ranks].mT)
    image = (heads.of_keys(z @ w_q.mT) + heads.with_keys(z) @ w_q) / 2
    rest = torch.linalg.vector_norm(image - values[:, ranks, None] * z, dim=-1)
    for index, k in enumerate(ranks):
        counts = values[:, k].abs() > COMPLETED * values[:, 0].abs()  # the vector of a smaller value is made up
        _check(f"S v = lambda v at k={k}", rest[:, index] * counts, values[:, 0].abs(), where, first)
        excess = (z[:, index].norm(dim=-1) - 1) * counts
        _check(f"|v| = 1 at k={k}", excess, torch.ones_like(excess), where, first)


def check_alike(found: Decomposition, own: Decomposition, where: str, first: int = 0) -> None:
    """The spectra of a variant's Grams, which were made of the plain ones', are those of its factors' own Grams."""
    pairs = (("sigma", found.sigma, own.sigma), ("eigenvalues", found.eigenvalues, own.eigenvalues))
    for name, one, other in pairs:
        if one is not None and other is not None:
            difference = (one.abs() - other.abs()).abs().amax(-1)  # λ and −λ may change places
            _check(f"{name} = {name} of the factors themselves", difference, other[:, 0].abs(), where, first)


def check_diagonal(grams: np.ndarray, fro_sq: np.ndarray, where: str) -> None:
    """The diagonal of one head's grams (layer, layer) is ‖M‖² (layer,)."""
    _check("gram diagonal = squared Frobenius norm", _tensor(np.diag(grams) - fro_sq), _tensor(fro_sq), where)


def check_gram(grams: np.ndarray, sampled: tuple[int, int, float], where: str) -> None:
    """One entry of one head's grams equals `sampled` (row, column, value)."""
    row, column, value = sampled
    scale = np.sqrt(grams[row, row] * grams[column, column])
    _check("gram = direct inner product", _tensor([grams[row, column] - value]), _tensor([scale]), where)


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


def _tensor(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _check(name: str, difference: torch.Tensor, scale: torch.Tensor, where: str, first: int = 0) -> None:
    broken = ~(difference.abs() <= TOLERANCE * scale.clamp(min=torch.finfo(torch.float64).tiny))
    if broken.any():
        head = int(broken.int().argmax())
        raise EigenhouseError(
            f"want {name} at {where}, head {first + head}; got a difference of {float(difference[head]):.3g} on a "
            f"scale of {float(scale[head]):.3g}: a fault of Eigenhouse or of this machine's linear algebra; "
            "nothing was written"
        )
