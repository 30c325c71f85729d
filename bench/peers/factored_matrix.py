"""σ and both sides of a layer's heads, ours in float64 and TransformerLens' in float32, in turns in this process.

TransformerLens factors each side and then the core: FactoredMatrix(W_Kᵀ, W_Q).svd(), three SVDs. It keeps what it
found, so each turn has a matrix of its own.
"""

from __future__ import annotations

import json
import sys

import torch
from transformer_lens import FactoredMatrix

from bench import ours
from bench.timing import side_by_side


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
        lambda: ours.sigma_and_sides(w_q, w_k), lambda: FactoredMatrix(keys, queries).svd(), rounds
    )
    sigma = torch.from_numpy(ours.sigma_and_sides(w_q, w_k))
    theirs = FactoredMatrix(keys, queries).svd()[1].double()
    difference = float(((sigma - theirs).abs().amax(1) / sigma[:, 0]).max())
    print(json.dumps({"ours": mine / n_heads, "theirs": other / n_heads, "difference": difference}))


if __name__ == "__main__":
    main()
