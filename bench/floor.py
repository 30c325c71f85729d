"""The floor under a static pass: the operations that it can't do without, at this machine's measured rates.

A multiplication with its addition counts two operations, a symmetric product half of a general one. Decompositions
count as Golub & Van Loan's Matrix Computations has them (4th ed., figures 8.3.1 and 8.6.1): n × n symmetric eigenvalues
4/3 n³, with vectors 9 n³; singular values 8/3 n³, with both sides 21 n³. They never reach a GEMM's rate, so nothing
comes down to the floor. The gate's own forward passes and the rows' way to disk are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.random_checkpoint import Shape
from bench.timing import best_of

SUBSPACE, N_EIGEN = 20, 16  # vectors of a side and of the eigenspace: what an ingest keeps unasked
NEW_COLUMNS = ("folded", "biased")  # variants whose factors are other matrices; all others rescale or turn rows
BYTES_A_NUMBER = 2  # in the checkpoint, bfloat16


@dataclass(frozen=True)
class Term:
    """Operations of one kind: count is their formula as the page shows it."""

    stage: str
    what: str
    count: str
    dtype: str
    flops: float


@dataclass(frozen=True)
class Rates:
    """Operations a second of a GEMM by dtype, and bytes a second of reading a file that is in the page cache."""

    gemm: dict[str, float]
    reading: float


def terms(shape: Shape, variants: Iterable[str] = (), weights: bool = True) -> list[Term]:
    """What each stage can't do without. variants: their names, as `folded` and `rope_1`."""
    variants = list(variants)
    return [*_spectra(shape), *_over_layers(shape), *_variants(shape, variants), *(_weights(shape) if weights else ())]


def seconds(found: Iterable[Term], shape: Shape, rates: Rates) -> dict[str, float]:
    """By stage: its operations at the rate of their dtype; `reading` is the layers' bytes, read once."""
    by_stage = {"reading": shape.n_layers * shape.layer_parameters * BYTES_A_NUMBER / rates.reading}
    for term in found:
        by_stage[term.stage] = by_stage.get(term.stage, 0.0) + term.flops / rates.gemm[term.dtype]
    return by_stage


def _spectra(s: Shape) -> list[Term]:
    """Heads decomposed once: L layers, H query heads, G key heads of c features, hidden size d."""
    layers, heads, both = s.n_layers, s.n_heads, s.n_heads + s.n_kv_heads
    c, d = s.head_dim, s.hidden
    wide = min(2 * c, d)
    return [
        Term("spectra", "Grams of W_Q and W_K", "L (H + G) c² d", "float64", layers * both * c**2 * d),
        Term("spectra", "W_K W_Qᵀ", "2 L H c² d", "float64", 2 * layers * heads * c**2 * d),
        Term("spectra", "their Cholesky factors", "L (H + G) c³/3", "float64", layers * both * c**3 / 3),
        Term("spectra", "metric: core, σ and both sides", "L H (2/3 + 21) c³", "float64",
             layers * heads * (2 / 3 + 21) * c**3),
        Term("spectra", "head product: σ", "8/3 L H c³", "float64", 8 / 3 * layers * heads * c**3),
        Term("spectra", "symmetric part: core of w = min(2c, d), λ and vectors", "L H (1 + 9) w³", "float64",
             layers * heads * 10 * wide**3),
        Term("subspaces", f"vectors: {SUBSPACE} of each side, {N_EIGEN} of the eigenspace",
             "2 L H c d (2 · 20 + 2 · 16)", "float64", 2 * layers * heads * c * d * (2 * SUBSPACE + 2 * N_EIGEN)),
    ]  # fmt: skip


def _over_layers(s: Shape) -> list[Term]:
    """What compares layers with each other, and heads with MLPs; P = L (L − 1)/2 pairs of layers, f the MLP's rows."""
    layers, heads, d, f = s.n_layers, s.n_heads, s.hidden, s.ffn
    pairs, many = layers * (layers - 1) // 2, layers > 1
    sides = 2 * heads * SUBSPACE
    return [
        Term("grams", "inner products of all pairs", "2 P (H + G) c² d + 2 P H c²", "float64", _pair_grams(s)),
        Term("subspaces", "all heads against all, both sides", "2 (20 L H)² d", "float32",
             2 * (SUBSPACE * layers * heads) ** 2 * d),
        Term("subspaces", "eigenspaces of a head in pairs of layers", "2 P H 16² d", "float32",
             2 * pairs * heads * N_EIGEN**2 * d),
        Term("subspaces", "their principal cosines", "8/3 P H 16³", "float64", 8 / 3 * pairs * heads * N_EIGEN**3),
        Term("alignments", "gate and up, or their Grams, on their layer's sides", "2 · 2 L min(f, d) d · 40 H",
             "float32", 4 * layers * (min(f, d) if many else f) * d * sides),
        Term("alignments", "their Grams, for the other layers", "2 L f d², if L > 1", "float32",
             many * 2 * layers * f * d**2),
        Term("alignments", "sums of projectors", "40 L H d², if L > 1", "float32", many * layers * sides * d**2),
        Term("alignments", "Grams on those sums", "2 · 2 L · 2 H d², if L > 1", "float32",
             many * 8 * layers * heads * d**2),
    ]  # fmt: skip


def _pair_grams(s: Shape) -> float:
    pairs, c = s.n_layers * (s.n_layers - 1) // 2, s.head_dim
    return 2 * pairs * (s.n_heads + s.n_kv_heads) * c**2 * s.hidden + 2 * pairs * s.n_heads * c**2


def _variants(s: Shape, names: list[str]) -> list[Term]:
    """V variants, of which N have other columns. The others' Grams follow from those that are there."""
    layers, heads, both = s.n_layers, s.n_heads, s.n_heads + s.n_kv_heads
    c, d = s.head_dim, s.hidden
    new, wide = sum(name in NEW_COLUMNS for name in names), min(2 * c, d)
    a_head = (2 / 3 + 8 / 3) * c**3 + (1 + 4 / 3) * wide**3
    return [
        Term("variants", "new Grams and W_K W_Qᵀ", "N L (3 H + G) c² d", "float64",
             new * layers * (both + 2 * heads) * c**2 * d),
        Term("variants", "Cholesky, σ and λ, no vectors", "V L ((H + G) c³/3 + H (10/3 c³ + 7/3 w³))", "float64",
             len(names) * layers * (both * c**3 / 3 + heads * a_head)),
        Term("variants", "inner products of all pairs", "N (2 P (H + G) c² d + 2 P H c²)", "float64",
             new * _pair_grams(s)),
    ]  # fmt: skip


def _weights(s: Shape) -> list[Term]:
    """q, k, v, o, gate, up, down: the Gram of the smaller side n, then its eigenvalues."""
    queries, keys = s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim
    sizes = [(queries, 2), (keys, 2), (s.ffn, 3)]
    grams = sum(count * max(rows, s.hidden) * min(rows, s.hidden) ** 2 for rows, count in sizes)
    solves = sum(count * 4 / 3 * min(rows, s.hidden) ** 3 for rows, count in sizes)
    return [
        Term("weights", "Grams of the seven m × n matrices, n ≤ m", "L Σ m n²", "float64", s.n_layers * grams),
        Term("weights", "their eigenvalues", "L Σ 4/3 n³", "float64", s.n_layers * solves),
    ]


def measured(file: Path, size: int = 2048) -> Rates:
    """This machine's rates now. file: one in the page cache, large enough to time."""
    return Rates({name: _gemm(getattr(torch, name), size) for name in ("float64", "float32")}, _reading(file))


def _gemm(dtype: torch.dtype, size: int) -> float:
    left, right = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / best_of(3, lambda: left @ right)


def _reading(file: Path) -> float:
    """Into memory that is there already, as a reader would that doesn't allocate anew."""
    into = bytearray(file.stat().st_size)

    def read() -> None:
        with open(file, "rb", buffering=0) as opened:
            opened.readinto(into)

    return len(into) / best_of(3, read)
