"""A random checkpoint of a real model's shape, written layer by layer: one layer is in memory at a time.

The architecture is Qwen3's (grouped key heads, norms on q and k, a gated MLP) in bfloat16, one file of weights a layer.
Its words are those of the standard prompts, so that an ingest can run them. Its gains differ from one, so that none can
be forgotten unseen. Rows are Gaussian: the condition of each matrix is that of chance, which a trained one exceeds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers

from bench.tiny_text import save_tokenizer
from eigenhouse.ingest.sources.prompts import read_prompts

GAIN_SPREAD = 0.1  # of the norms' gains about one


@dataclass(frozen=True)
class Shape:
    """What the cost of an ingest depends on."""

    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int

    def __str__(self) -> str:
        heads = f"{self.n_heads} heads of {self.head_dim} on {self.n_kv_heads} key heads"
        return f"{self.n_layers} layers, d = {self.hidden}, {heads}, ffn {self.ffn}"

    @property
    def layer_parameters(self) -> int:
        """Numbers in the matrices of one layer, norms left out."""
        return self.hidden * (2 * self.head_dim * (self.n_heads + self.n_kv_heads) + 3 * self.ffn)

    def deep(self, n_layers: int) -> Shape:
        return replace(self, n_layers=n_layers)


SHAPES = {
    "4b": Shape(36, 2560, 32, 8, 128, 9728),  # Qwen3-4B
    "70b": Shape(80, 8192, 64, 8, 128, 28672),  # Llama 3 70B
    "0.5b": Shape(24, 896, 14, 2, 64, 4864),  # Qwen2.5-0.5B
    "small": Shape(18, 512, 8, 2, 64, 2048),
    "tiny": Shape(3, 44, 4, 2, 10, 26),
}


def write(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """The checkpoint's folder, made: weights, their index, config.json, a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    words = _words()
    save_tokenizer(folder, words)
    (folder / "config.json").write_text(json.dumps(config(shape, 2 + len(words)), indent=1))
    draw = torch.Generator().manual_seed(seed)
    n_files = shape.n_layers + 1
    where: dict[str, str] = {}
    for number in range(n_files):
        name = f"model-{number + 1:05d}-of-{n_files:05d}.safetensors"
        shapes = _layer(shape, number) if number < shape.n_layers else _ends(shape, 2 + len(words))
        tensors = {key: _random(size, draw) for key, size in shapes.items()}
        save_file(tensors, folder / name, {"format": "pt"})
        where |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def config(shape: Shape, n_words: int) -> dict[str, object]:
    """config.json of transformers' Qwen3."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": n_words,
        "max_position_embeddings": 65536,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
    }


def _words() -> list[str]:
    """Those of the standard prompts, in the order of their first use."""
    cut = pre_tokenizers.Whitespace().pre_tokenize_str
    return list(dict.fromkeys(word for text in read_prompts().texts for word, _ in cut(text)))


def _layer(shape: Shape, layer: int) -> dict[str, tuple[int, ...]]:
    queries, keys = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    sizes: dict[str, tuple[int, ...]] = {
        "input_layernorm": (shape.hidden,),
        "self_attn.q_proj": (queries, shape.hidden),
        "self_attn.k_proj": (keys, shape.hidden),
        "self_attn.v_proj": (keys, shape.hidden),
        "self_attn.o_proj": (shape.hidden, queries),
        "self_attn.q_norm": (shape.head_dim,),
        "self_attn.k_norm": (shape.head_dim,),
        "post_attention_layernorm": (shape.hidden,),
        "mlp.gate_proj": (shape.ffn, shape.hidden),
        "mlp.up_proj": (shape.ffn, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.ffn),
    }
    return {f"model.layers.{layer}.{name}.weight": size for name, size in sizes.items()}


def _ends(shape: Shape, n_words: int) -> dict[str, tuple[int, ...]]:
    return {"model.embed_tokens.weight": (n_words, shape.hidden), "model.norm.weight": (shape.hidden,)}


def _random(size: tuple[int, ...], draw: torch.Generator) -> torch.Tensor:
    """A gain about one, or a matrix whose rows have about unit length; drawn in bfloat16 to spare memory."""
    values = torch.randn(size, generator=draw, dtype=torch.bfloat16)
    return 1 + GAIN_SPREAD * values if len(size) == 1 else values.mul_(size[1] ** -0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write; made where there is none")
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--layers", type=int, help="instead of the shape's own number")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    shape = shape.deep(arguments.layers or shape.n_layers)
    print(f"{write(arguments.folder, shape, arguments.seed)}: {shape}")


if __name__ == "__main__":
    main()
