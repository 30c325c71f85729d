"""σ and both sides of a layer's heads, ours in float64 and TransformerLens' in float32, in turns in this process.

TransformerLens factors each side and then the core: FactoredMatrix(W_Kᵀ, W_Q).svd(), three SVDs. It keeps what it
found, so each turn has a matrix of its own. Both make all vectors of both sides; "kept" is ours with those that an
ingest keeps.
"""

from __future__ import annotations

import json
import sys

import torch
from transformer_lens import FactoredMatrix

from bench import ours
from bench.timing import best_of, side_by_side

SUBSPACE = 20  # vectors of a side that an ingest keeps


def main() -> None:
    n_heads, n_kv_heads, head_dim, hidden, rounds = map(int, sys.argv[1:])
    draw = torch.Generator().manual_seed(0)
    w_q, w_k = (
        torch.randn(n, head_dim, hidden, generator=draw, dtype=torch.float64).div_(hidden**0.5).numpy()
        for n in (n_heads, n_kv_heads)
    )
    keys = torch.from_numpy(w_k).float().repeat_interleave(n_heads // n_kv_heads, dim=0).mT.contiguous()
    queries = torch.from_numpy(w_q).float()
    mine, other = side_by_side(
        lambda: ours.sigma_and_sides(w_q, w_k, head_dim), lambda: FactoredMatrix(keys, queries).svd(), rounds
    )
    kept = best_of(rounds, lambda: ours.sigma_and_sides(w_q, w_k, SUBSPACE))
    sigma = torch.from_numpy(ours.sigma_and_sides(w_q, w_k, 1))
    theirs = FactoredMatrix(keys, queries).svd()[1].double()
    difference = float(((sigma - theirs).abs().amax(1) / sigma[:, 0]).max())
    said = {"ours": mine, "theirs": other, "kept": kept}
    print(json.dumps({name: seconds / n_heads for name, seconds in said.items()} | {"difference": difference}))


if __name__ == "__main__":
    main()
