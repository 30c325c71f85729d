"""Spectra of one layer's heads from their Grams: exact forms of size c, never a hidden × hidden matrix.

Fills `singular_values`, `eigenvalues`, `eigenvectors` and `head_norms`. Each head is decomposed once. What is kept of
its vectors are the small coefficients that make them of the factors' rows, so that any number of them is one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch

from eigenhouse.ingest.devices import solved
from eigenhouse.ingest.geometry.heads import LayerHeads

N_EIGENVECTORS = 16
CONDITION = 1e4  # of R (Frobenius), above which a Gram's rounding would cost more than 1e-12 of the largest σ
RANK = 1e-12  # of the largest: rows that depend on one another to this degree count as dependent
COMPLETED = 1e-6  # of the largest value: vectors of smaller ones are no more than rounding, and made orthonormal anew


@dataclass(frozen=True)
class Decomposition:
    """Of one layer's heads, float64: M = U diag(σ) Vᵀ, S = (M + Mᵀ)/2 = Z diag(λ) Zᵀ.

    sigma (head, k) descending, k = min(head_dim, hidden) · key, query (head, feature, k): U = W_Kᵀ key,
    V = W_Qᵀ query · eigenvalues (head, min(2c, d)) by falling |λ| · eigen (head, 2c, vector): the
    leading Z = [W_K; W_Q]ᵀ eigen. None without eigenvalues (cross), and what was not asked for.
    """

    sigma: torch.Tensor
    key: torch.Tensor | None
    query: torch.Tensor | None
    eigenvalues: torch.Tensor | None
    eigen: torch.Tensor | None

    @classmethod
    def joined(cls, parts: Sequence[Decomposition]) -> Decomposition:
        """Of all heads, on the CPU, given those of blocks of them."""
        names = [field.name for field in fields(cls) if getattr(parts[0], field.name) is not None]
        whole = {name: torch.cat([getattr(part, name).cpu() for part in parts]) for name in names}
        return replace(parts[0], **whole)

    def to(self, device: torch.device) -> Decomposition:
        return self._changed(lambda part: part.to(device))

    def heads(self, own: slice) -> Decomposition:
        """The same of some of the heads."""
        return self._changed(lambda part: part[own])

    def _changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Decomposition:
        return replace(self, **{name: change(part) for name, part in vars(self).items() if part is not None})


def decompose(heads: LayerHeads, with_vectors: bool = True, n_eigen: int = N_EIGENVECTORS) -> Decomposition:
    """σ, signed eigenvalues and, if asked for, the coefficients of all singular and `n_eigen` eigenvectors.

    Error: below 1e-12 of the largest value against the dense decomposition in float64, 1e-14 as measured.
    Identities: W_Kᵀ = Q_K R_K and W_Qᵀ = Q_Q R_Q give M = Q_K (R_K R_Qᵀ) Q_Qᵀ; B = [W_K; W_Q], Bᵀ = Q R gives
    S = Q (R J Rᵀ) Qᵀ with J = ½ [[0, I], [I, 0]]; a column of Q is a combination of rows, Q = Wᵀ R⁻¹.
    """
    key = triangles(heads.grams.key, lambda number: heads.head(number * heads.group).w_k[0])
    query = triangles(heads.grams.query, lambda number: heads.head(number).w_q[0])
    core = heads.per_query_head(key.r) @ query.r.mT
    rank = min(heads.n_features, heads.hidden_size, heads.key_hidden_size)
    eigenvalues, eigen = (None, None) if heads.is_cross else _eigen(heads, n_eigen if with_vectors else 0)
    if not with_vectors:
        return Decomposition(solved(torch.linalg.svdvals, core)[:, :rank], None, None, eigenvalues, None)
    u, sigma, vh = solved(torch.linalg.svd, core)
    left, sigma, right = (factor[..., :rank] for factor in (u, sigma, vh.mT))
    # the heads of a group stand side by side, since their key head has one R
    side_by_side = left.unflatten(0, (-1, heads.group)).transpose(1, 2).flatten(2)
    of_keys = key.coefficients(side_by_side).unflatten(2, (heads.group, -1)).transpose(1, 2).flatten(0, 1)
    return Decomposition(sigma, of_keys, query.coefficients(right), eigenvalues, eigen)


@dataclass(frozen=True)
class Triangles:
    """R with Rᵀ R = W Wᵀ for each head's rows W, so that Wᵀ R⁻¹ has orthonormal columns; (head, feature, feature).

    inverse: R⁻¹ where R came from Cholesky · by_qr: the heads where it didn't.
    """

    r: torch.Tensor
    inverse: torch.Tensor
    by_qr: list[int]

    def coefficients(self, columns: torch.Tensor) -> torch.Tensor:
        """R⁻¹ columns, (head, feature, column): the combinations of rows that Wᵀ R⁻¹ columns are.

        Beyond CONDITION the inverse itself would be wrong, so R is solved for; where rows depend on one another, the
        shortest combination is taken.
        """
        found = self.inverse @ columns
        for head in self.by_qr:
            diagonal = self.r[head].diagonal().abs()
            if diagonal.min() > RANK * diagonal.max():
                found[head] = torch.linalg.solve_triangular(self.r[head], columns[head], upper=True)
            else:
                found[head] = torch.linalg.pinv(self.r[head], rtol=RANK) @ columns[head]
        return found


def triangles(gram: torch.Tensor, rows: Callable[[int], torch.Tensor]) -> Triangles:
    """Of the Gram of each head's rows (feature, hidden), by Cholesky where the condition of R permits, else by QR.

    The Gram is scaled to a unit diagonal first: rows of different lengths alone make no condition bad.
    """
    lengths = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    scale = torch.where(lengths > 0, lengths, 1.0)[:, None, :]
    lower, failed = torch.linalg.cholesky_ex(gram / (scale.mT * scale))
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    lower = torch.where((failed == 0)[:, None, None], lower, eye)
    inverse = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False).mT.contiguous()
    condition = torch.linalg.matrix_norm(lower) * torch.linalg.matrix_norm(inverse)
    r, inverse = lower.mT * scale, inverse / scale.mT
    by_qr = torch.nonzero((failed != 0) | ~(condition <= CONDITION)).flatten().tolist()
    for head in by_qr:
        of_rows = torch.linalg.qr(rows(head).mT, mode="r")[1]
        r[head] = 0
        r[head, : len(of_rows)] = of_rows
    return Triangles(r, inverse, by_qr)


def _eigen(heads: LayerHeads, n_vectors: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Signed eigenvalues by falling |λ|, and the coefficients of the leading vectors, if any are asked for."""
    n_features = heads.n_features
    joint = triangles(heads.joint_gram, lambda number: heads.head(number).joint_rows[0])
    core = joint.r @ torch.roll(joint.r.mT, n_features, dims=-2) / 2  # R J Rᵀ
    core = (core + core.mT) / 2
    if n_vectors:
        values, vectors = solved(torch.linalg.eigh, core, threads=4)
    else:
        values = solved(torch.linalg.eigvalsh, core, threads=2)
    order = values.abs().argsort(dim=-1, descending=True, stable=True)[:, : min(2 * n_features, heads.hidden_size)]
    values = values.gather(-1, order)
    if not n_vectors:
        return values, None
    leading = vectors.gather(-1, order[:, None, :n_vectors].expand(-1, vectors.shape[1], -1))
    return values, joint.coefficients(leading)


def side_vectors(heads: LayerHeads, found: Decomposition, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The leading left (key side) and right (query side) singular vectors, (head, vector, hidden) orthonormal rows."""
    assert found.key is not None and found.query is not None, "decomposed with vectors"
    key = heads.of_keys(found.key[..., :size].mT.contiguous())
    query = found.query[..., :size].mT @ heads.w_q
    return completed(key, found.sigma), completed(query, found.sigma)


def eigenvectors(heads: LayerHeads, found: Decomposition, size: int = N_EIGENVECTORS) -> torch.Tensor:
    """The vectors of the largest |λ|, (head, vector, hidden) of unit length, their largest-magnitude entry positive."""
    assert found.eigen is not None and found.eigenvalues is not None, "decomposed with vectors"
    rows = completed(heads.of_both(found.eigen[..., :size].mT), found.eigenvalues.abs())
    peaks = rows.gather(-1, rows.abs().argmax(dim=-1, keepdim=True))
    return rows * torch.where(peaks < 0, -1.0, 1.0)


def completed(rows: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows (head, vector, hidden) where some belong to values that are zero but for rounding.

    Those are drawn at random and made orthogonal to the others, which stay as they are: any such row serves.
    """
    size = rows.shape[1]
    is_lost = magnitudes[:, :size] <= COMPLETED * magnitudes[:, :1]
    for head in torch.nonzero(is_lost.any(-1)).flatten().tolist():
        lost = is_lost[head]
        draw = torch.Generator().manual_seed(head)
        drawn = torch.randn(rows.shape[1:], generator=draw, dtype=rows.dtype).to(rows.device)
        basis = torch.linalg.qr(torch.where(lost[:, None], drawn, rows[head]).mT)[0].mT
        rows[head] = torch.where(lost[:, None], basis, rows[head])
    return rows


def head_product_sigma(heads: LayerHeads) -> torch.Tensor:
    """σ of the head_dim × head_dim product W_K W_Qᵀ, (head, k) descending. Not the metric's: see definitions."""
    assert heads.grams.product is not None, "the sides of a cross stack have no product"
    return solved(torch.linalg.svdvals, heads.grams.product)


def head_norms(heads: LayerHeads) -> dict[str, torch.Tensor]:
    """Squared Frobenius norms and the trace, (head,) each, from the factors' Grams; no trace for a cross stack."""
    grams = heads.grams
    gram_k = heads.per_query_head(grams.key)
    norms = {
        "metric_fro_sq": (gram_k * grams.query).sum(dim=(1, 2)),
        "w_q_fro_sq": _trace(grams.query),
        "w_k_fro_sq": _trace(gram_k),
    }
    if grams.product is not None:
        norms["trace"] = _trace(grams.product)
        norms["head_product_fro_sq"] = grams.product.square().sum(dim=(1, 2))
    return norms


def _trace(matrices: torch.Tensor) -> torch.Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)
