"""Plain weights, and folders that hold more, less or other than the config says."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.stored_forms.form import EITHER, REFUSED, add, write
from bench.stored_forms.fp8 import CONFIG
from bench.stored_forms.models import State, save_config, stored_state

PLAIN, FAMILY = "Plain weights", "Folders"
KEY = "model.layers.1.self_attn.k_proj"


def cast(model: Any, dtype: torch.dtype) -> State:
    return {name: value.to(dtype) for name, value in stored_state(model).items()}


def plain(
    model: Any,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    changed: Callable[[State], State] | None = None,
    config: dict[str, Any] | None = None,
) -> State:
    """model.safetensors of these values; changed: what is written of them in the end."""
    exact = cast(model, dtype)
    write(model, folder, changed(exact) if changed else exact, config=config)
    return exact


def sharded(model: Any, folder: Path, ending: str) -> State:
    """Two files and the index that says which holds what, as transformers saves more than it wants in one."""
    exact = cast(model, torch.bfloat16)
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]
    names = [f"{stem}-{number:05}-of-00002.{ending}" for number in (1, 2)]
    places = {name: names[position % 2] for position, name in enumerate(exact)}
    for file in names:
        part = {name: exact[name].clone() for name, place in places.items() if place == file}
        if ending == "bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, {"format": "pt"})
    size = sum(value.numel() * value.element_size() for value in exact.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    save_config(model, folder)
    return exact


def pickled(model: Any, folder: Path, within: Callable[[State], dict[str, Any]] = dict) -> State:
    """pytorch_model.bin, of whatever `within` makes of the weights."""
    exact = cast(model, torch.float32)
    torch.save(within(exact), folder / "pytorch_model.bin")
    save_config(model, folder)
    return exact


def with_adapter(model: Any, folder: Path) -> State:
    """An unmerged LoRA lies beside the weights that it was trained on: which of the two is the model isn't clear."""
    exact = plain(model, folder)
    adapter = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "base",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{at}.{name}": value for name, value in low_rank().items()}, folder / "adapter_model.safetensors")
    return exact


def low_rank(adapter: str = "") -> State:
    return {f"lora_A{adapter}.weight": torch.ones(4, 192), f"lora_B{adapter}.weight": torch.ones(240, 4)}


def unmerged(tensors: State) -> State:
    """Saved with peft's modules in it: each adapted weight is named base_layer and has its two factors beside it."""
    renamed = {name.replace("q_proj.weight", "q_proj.base_layer.weight"): value for name, value in tensors.items()}
    return renamed | factors_beside({})


def factors_beside(tensors: State) -> State:
    ends = low_rank(".default").items()
    return tensors | {
        f"model.layers.{layer}.self_attn.q_proj.{name}": v.clone() for layer in (0, 1) for name, v in ends
    }


def prefixed(prefix: str, tensors: dict[str, Any]) -> State:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def bare(tensors: State) -> State:
    """Saved from the model without its output head."""
    return {name.removeprefix("model."): value for name, value in tensors.items() if not name.startswith("lm_head")}


def replaced(name: str, value: torch.Tensor, tensors: State) -> State:
    return tensors | {name: value}


def without(part: str, tensors: State) -> State:
    return {name: value for name, value in tensors.items() if part not in name}


def with_caches(tensors: State) -> State:
    """Old llama files hold what their rotary modules had computed."""
    inverse = 1e4 ** (-torch.arange(0, 40, 2) / 40)
    return tensors | {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": inverse.clone() for layer in (0, 1)}


def as_openai_has_it(tensors: State) -> State:
    """GPT-2 of 2019: no prefix, and each attention's causal mask among the weights."""
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril() for layer in (0, 1)}
    return {name.removeprefix("transformer."): value for name, value in tensors.items()} | masks


def with_other_files(model: Any, folder: Path) -> State:
    """Other files that hubs hold: older weights as .bin, and the trainer's own file."""
    exact = plain(model, folder)
    torch.save({name: 0 * value for name, value in exact.items()}, folder / "pytorch_model.bin")
    save_file({"layers.0.attention.wq.weight": torch.ones(3, 5)}, folder / "consolidated.safetensors")
    torch.save({"lr": 1e-4}, folder / "training_args.bin")
    return exact


def register() -> None:
    _plain()
    _names()
    _sizes()
    add("an adapter beside the weights", FAMILY, with_adapter, expected=REFUSED)
    add("`base_layer` and `lora_A.default`", FAMILY, partial(plain, changed=unmerged), expected=REFUSED)
    add("`lora_A.default` beside whole weights", FAMILY, partial(plain, changed=factors_beside), expected=REFUSED)
    add("other files beside the weights", FAMILY, with_other_files)
    add(
        "FP8's config over plain weights",
        FAMILY,
        partial(plain, config={"quantization_config": CONFIG}),
        expected=EITHER,
    )


def _plain() -> None:
    kinds = {"bf16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
    for name, dtype in kinds.items():
        add(name, PLAIN, partial(plain, dtype=dtype))
    for model in ("gpt2", "deepseek", "qwen3_moe", "gpt_oss"):
        add(f"bf16, {model}", PLAIN, plain, model=model)
    add("bf16, biases", PLAIN, plain, model="biased llama", is_biased=True)
    add("float32, heads that don't fill the hidden size", PLAIN, partial(plain, dtype=torch.float32), model="odd qwen3")
    for ending in ("safetensors", "bin"):
        add(f"two .{ending} shards", PLAIN, partial(sharded, ending=ending))
    add(".bin", PLAIN, pickled)
    others = {"step": 7, "lr": 1e-4, "note": "last", "optimizer": {"state": {}}, "version": torch.tensor(3)}
    add(
        ".bin with numbers, strings and dicts",
        PLAIN,
        partial(pickled, within=lambda state: state | others),
        expected=EITHER,
    )
    add(
        ".bin with all in `state_dict`",
        PLAIN,
        partial(pickled, within=lambda state: {"state_dict": state}),
        expected=EITHER,
    )


def _names() -> None:
    for prefix in ("_orig_mod.", "module."):
        add(f"`{prefix}` before every name", FAMILY, partial(plain, changed=partial(prefixed, prefix)))
    add("`module.` before every name, .bin", FAMILY, partial(pickled, within=partial(prefixed, "module.")))
    add("no prefix, no head", FAMILY, partial(plain, changed=bare))
    add("GPT-2 with causal masks, no prefix", FAMILY, partial(plain, changed=as_openai_has_it), model="gpt2")
    add("rotary caches", FAMILY, partial(plain, changed=with_caches))
    bias = partial(replaced, f"{KEY.replace('k_proj', 'q_proj')}.bias", torch.ones(240))
    add("a bias that the model hasn't", FAMILY, partial(plain, changed=bias), expected=REFUSED)
    head = partial(replaced, "value_head.weight", torch.ones(1, 192))
    add("`value_head.weight` besides", FAMILY, partial(plain, changed=head), skipped=("value_head",))
    for name, value in {"of shape [0]": torch.zeros(0), "of another shape": torch.ones(120, 192)}.items():
        add(
            f"a key projection {name}",
            FAMILY,
            partial(plain, changed=partial(replaced, f"{KEY}.weight", value)),
            expected=REFUSED,
        )
    add("a key projection is missing", FAMILY, partial(plain, changed=partial(without, KEY)), expected=REFUSED)


def _sizes() -> None:
    add(
        "fewer layers than the config says",
        FAMILY,
        partial(plain, changed=partial(without, "layers.1.")),
        expected=REFUSED,
    )
    add("more layers than the config says", FAMILY, partial(plain, config={"num_hidden_layers": 1}), expected=REFUSED)
    sizes = {"head_dim": 32, "intermediate_size": 144, "vocab_size": 96, "num_key_value_heads": 3, "hidden_size": 240}
    for size, value in sizes.items():
        add(f"config.json with another {size}", FAMILY, partial(plain, config={size: value}), expected=REFUSED)
