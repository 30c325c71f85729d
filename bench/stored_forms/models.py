"""The tiny models whose weights are stored, and which of their weights the warehouse's numbers are made of.

Weights are held by the names that files have: transformers stacks a layer's experts into one parameter, files hold
them one by one. 128 divides no size, and no two sizes of a matrix are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.tiny_configs import randomize

State = dict[str, torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]  # W_Q (head, feature, hidden) and W_K (key head, feature, hidden)
Matrices = dict[tuple[str, int], torch.Tensor]  # (weight, expert) → (outputs, inputs), as in the table `weights`
SHARED_EXPERT = -1

SIZES = {"hidden_size": 192, "num_hidden_layers": 2, "vocab_size": 97, "max_position_embeddings": 64}
GROUPED = SIZES | {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 40, "intermediate_size": 160}
APART = {"tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"moe_intermediate_size": 96, "num_experts_per_tok": 2}
LATENT = {
    "num_attention_heads": 6, "num_key_value_heads": 6, "q_lora_rank": 136, "kv_lora_rank": 72, "v_head_dim": 20,
    "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "intermediate_size": 160,
}  # fmt: skip
CONFIGS = {
    "llama": ("Llama", GROUPED | APART),
    "even llama": ("Llama", GROUPED | APART | {"head_dim": 48}),  # for groups, which must divide every row
    "odd qwen3": ("Qwen3", GROUPED | APART | {"hidden_size": 193}),
    "biased llama": ("Llama", GROUPED | APART | {"attention_bias": True}),
    "llama of 256": (
        "Llama",
        GROUPED | APART | {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8},
    ),
    "qwen2": ("Qwen2", GROUPED | APART | {"hidden_size": 240}),
    "qwen3_moe": ("Qwen3Moe", GROUPED | APART | EXPERTS | {"num_experts": 3}),
    "deepseek": ("DeepseekV3", SIZES | LATENT | EXPERTS | APART),
    "gpt_oss": ("GptOss", GROUPED | APART | {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 5}),
    "gpt2": (
        "GPT2",
        {"n_embd": 192, "n_layer": 2, "n_head": 6, "vocab_size": 97, "n_positions": 64, "n_inner": 160}
        | {"bos_token_id": 1, "eos_token_id": 2},
    ),
}
LINEAR = re.compile(r"(proj|proj_with_mqa|c_attn|c_fc)\.weight$")  # what is quantized; lm_head and routers are not
CONV1D = re.compile(r"(c_attn|c_fc|c_proj)\.weight$")  # stored (inputs, outputs)


def build(kind: str) -> Any:
    """Random, and of rows and columns that differ in size, so that a scale in the wrong place is seen."""
    name, sizes = CONFIGS[kind]
    config = getattr(transformers, f"{name}Config")(**sizes)
    heads = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    model = randomize(getattr(transformers, f"{name}{heads}")(config), 0.1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                rows, columns = (torch.linspace(1, 3, size) for size in parameter.shape[-2:])
                parameter.mul_(rows[:, None]).mul_(columns)
    return model


def stored_state(model: Any) -> State:
    """Every weight by the name that files give it, float32; what is tied to another is left out."""
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    state: State = {}
    for name, value in model.state_dict().items():
        if name in tied:
            continue
        if name.endswith("experts.gate_up_proj") and model.config.model_type != "gpt_oss":
            for expert, both in enumerate(value):
                gate, up = both.chunk(2)
                at = f"{name.removesuffix('gate_up_proj')}{expert}"
                state |= {f"{at}.gate_proj.weight": gate.clone(), f"{at}.up_proj.weight": up.clone()}
        elif name.endswith("experts.down_proj") and model.config.model_type != "gpt_oss":
            at = name.removesuffix("down_proj")
            state |= {f"{at}{expert}.down_proj.weight": one.clone() for expert, one in enumerate(value)}
        else:
            state[name] = value.clone()
    return state


def save_config(model: Any, folder: Path, quantization: dict | None = None, changed: dict | None = None) -> None:
    """config.json as a hub has it, with a quantization_config and other entries of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16"}
    config |= {"quantization_config": quantization} if quantization else {}
    (folder / "config.json").write_text(json.dumps(config | (changed or {}), indent=2))


def head_dim(config: transformers.PretrainedConfig) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def biases(config: transformers.PretrainedConfig, state: State, layer: int) -> Pair:
    """b_Q and b_K of one layer, (head, feature)."""
    at = f"model.layers.{layer}.self_attn"
    q, k = (state[f"{at}.{side}_proj.bias"].reshape(-1, head_dim(config)) for side in "qk")
    return q, k


def attention_pair(config: transformers.PretrainedConfig, state: State, layer: int) -> Pair:
    """W_Q and W_K of one layer, cut by what the model's code does with its projections."""
    kind = config.model_type
    if kind == "gpt2":
        q, k, _ = state[f"transformer.h.{layer}.attn.c_attn.weight"].T.chunk(3)
        return q.reshape(config.n_head, -1, config.n_embd), k.reshape(config.n_head, -1, config.n_embd)
    at = f"model.layers.{layer}.self_attn"
    if kind == "deepseek_v3":
        n_content, heads = config.qk_nope_head_dim, config.num_attention_heads
        q = state[f"{at}.q_b_proj.weight"] @ state[f"{at}.q_a_proj.weight"]
        down = state[f"{at}.kv_a_proj_with_mqa.weight"][: config.kv_lora_rank]
        up = state[f"{at}.kv_b_proj.weight"].reshape(heads, -1, config.kv_lora_rank)[:, :n_content]
        return q.reshape(heads, -1, config.hidden_size)[:, :n_content], up @ down
    shape = (-1, head_dim(config), config.hidden_size)
    q, k = (state[f"{at}.{side}_proj.weight"].reshape(shape) for side in "qk")
    return q, k


def layer_matrices(config: transformers.PretrainedConfig, state: State, layer: int) -> Matrices:
    """The projections and the MLP of one layer, as far as the table `weights` holds them under one name."""
    if config.model_type == "gpt2":
        at = f"transformer.h.{layer}"
        q, k, v = state[f"{at}.attn.c_attn.weight"].T.chunk(3)
        names = {"o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
        others = {(weight, 0): state[f"{at}.{name}.weight"].T for weight, name in names.items()}
        return others | {("q", 0): q, ("k", 0): k, ("v", 0): v}
    at = f"model.layers.{layer}"
    matrices: Matrices = {}
    for name, value in state.items():
        if match := re.fullmatch(rf"{at}\.self_attn\.([qkvo])_proj\.weight", name):
            matrices[match[1], 0] = value
        elif match := re.fullmatch(
            rf"{at}\.mlp\.(?:experts\.)?(\d+|shared_experts)?\.?(gate|up|down)_proj\.weight", name
        ):
            number = match[1] or "0"
            matrices[match[2], int(number) if number.isdecimal() else SHARED_EXPERT] = value
    if config.model_type == "gpt_oss":
        for expert, both in enumerate(state[f"{at}.mlp.experts.gate_up_proj"]):
            matrices |= {("gate", expert): both[:, ::2].T, ("up", expert): both[:, 1::2].T}
            matrices["down", expert] = state[f"{at}.mlp.experts.down_proj"][expert].T
    return matrices


Store = Callable[[Any, Path], State]
