"""Effective ranks of a model's weights in a warehouse beside an independent torch.linalg.svdvals run on the model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb
import torch
from transformers import AutoModelForCausalLM

from eigenhouse.ingest.models.loading import quiet
from eigenhouse.ingest.sources.locate import resolve

TOLERANCE = 1e-5  # relative
MODULES = {
    **{name: f"self_attn.{name}_proj" for name in "qkvo"},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m", help="a model with Llama's module names")
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse.duckdb"))
    arguments = parser.parse_args()
    quiet()
    source = resolve(arguments.model)
    ours = stored_ranks(arguments.warehouse, source.model_id)
    model = AutoModelForCausalLM.from_pretrained(
        source.loader_path, dtype=torch.float32, **({"gguf_file": source.gguf_file} if source.gguf_file else {})
    )
    worst = 0.0
    print("layer  weight    warehouse      svdvals  rel. difference")
    for (layer, weight), rank in ours.items():
        theirs = effective_rank(model.model.layers[layer].get_submodule(MODULES[weight]).weight)
        worst = max(worst, abs(rank - theirs) / theirs)
        print(f"{layer:5d}  {weight:6}  {rank:11.5f}  {theirs:11.5f}  {abs(rank - theirs) / theirs:.1e}")
    print(f"{len(ours)} matrices, largest relative difference {worst:.1e} (at most {TOLERANCE:g})")
    sys.exit(not ours or worst > TOLERANCE)


def stored_ranks(warehouse: Path, model_id: str) -> dict[tuple[int, str], float]:
    """exp of the entropy of σ/Σσ by (layer, weight), in DuckDB, from the stored float32 values."""
    query = """
        with spectra as (
            select layer, weight, sigma, sum(sigma::double) over (partition by layer, weight) as total
            from weight_singular_values inner join models using (model_key)
            where model_id = ? and sigma > 0
        )
        select layer, weight, exp(-sum(sigma / total * ln(sigma / total))) from spectra group by all order by all
    """
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return {(layer, weight): rank for layer, weight, rank in con.execute(query, [model_id]).fetchall()}


def effective_rank(weight: torch.Tensor) -> float:
    sigma = torch.linalg.svdvals(weight.detach().double())
    shares = sigma / sigma.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


if __name__ == "__main__":
    main()
