"""Which of the installed transformers' model types can be measured: a tiny random model of each, head by head.

Each type is built from its own config, made small, and every attention call of one forward pass goes
through the gate. A row a type: how the factors were found, heads proved, the worst error, and why not where not. Each
type runs in a process of its own, so that one that crashes or swells takes no other along.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import warnings
from collections import Counter
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from ingest import capture
from ingest.capture import Unreadable
from ingest.conformance import TOLERANCE, proven_factors
from ingest.loading import LoadedModel, first_line
from ingest.workbench import probe_inputs

SECONDS, BYTES = 30, 8 * 2**30
N_POSITIONS = 13
# sizes that differ pairwise, so that no axis passes for another; a config takes those that it knows
SMALL = {
    "hidden_size": 48, "d_model": 48, "n_embd": 48, "dim": 48, "embed_dim": 48, "embedding_size": 48,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_attention_heads": 6, "n_head": 6, "n_heads": 6, "num_heads": 6, "encoder_attention_heads": 6,
    "decoder_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40, "d_ff": 40,
    "ffn_dim": 40, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "n_inner": 40, "hidden_dim": 40, "d_kv": 8,
    "vocab_size": 97,
    "max_position_embeddings": 64, "n_positions": 64, "image_size": 16, "patch_size": 4, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
    "word_embed_proj_dim": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
OPEN = ("num_key_value_heads", "head_dim")
TYPES = (
    "albert apertus arcee bart bert bloom clip_text_model clip_vision_model cohere cohere2 deberta-v2 deepseek_v2 "
    "deepseek_v3 distilbert electra ernie4_5 exaone4 falcon gemma gemma2 gemma3_text gemma4_text glm glm4 gpt2 "
    "gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite helium hunyuan_v1_dense lfm2 llama llama4_text mbart mistral "
    "mixtral modernbert mpnet mpt nemotron olmo olmo2 olmo3 opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 "
    "qwen3_5_text qwen3_moe qwen3_next roberta seed_oss siglip_vision_model smollm3 stablelm starcoder2 t5 vit whisper "
    "xglm xlm-roberta"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=TYPES.split(), help="model types to try; the best known without")
    parser.add_argument("--all", action="store_true", help="every type that has a bare model, some hundreds")
    told = parser.parse_args()
    every = sorted(name for name, config in CONFIG_MAPPING.items() if config in MODEL_MAPPING)
    print("| model type | found by | heads proved | worst error | not measured |\n|---|---|---|---|---|")
    counts: Counter[str] = Counter()
    for name in every if told.all else told.types:
        answer = in_a_process(name)
        counts[answer.get("verdict", "not built")] += 1
        layouts = answer.get("layouts", "").replace("|", "\\|")
        worst = "" if answer.get("worst") is None else f"{answer['worst']:.1e}"
        print(
            f"| {name} | {layouts} | {answer.get('n_heads', '')} | {worst} | {answer['why']} |",
            flush=True,
        )
    print("\n" + " · ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))


def in_a_process(model_type: str) -> dict[str, Any]:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        signal.alarm(SECONDS)
        try:
            answer = tried(model_type)
        except BaseException as error:
            answer = {"why": f"{type(error).__name__}: {first_line(Exception(str(error)))[:90]}".replace("|", "/")}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"why": f"took more than {SECONDS} s or {BYTES / 2**30:.0f} GB"}


def tried(model_type: str) -> dict[str, Any]:
    """Build the type, small and random, and prove what its attention interface shows."""
    warnings.simplefilter("ignore")
    config = CONFIG_MAPPING[model_type]()
    shrink(config)
    try:
        model = transformers.AutoModel.from_config(config, attn_implementation=capture.NAME)
    except KeyError as error:
        if error.args != (capture.NAME,):
            raise
        return {"verdict": "not measured", "why": "its kernels are its own, beside the attention interface"}
    randomize(model)
    loaded = LoadedModel(None, model, is_whole=True)  # type: ignore[arg-type]  # there is no checkpoint
    runs = [
        capture.record_sites(model, loaded.body, probe_inputs(loaded, n_positions)) for n_positions in (N_POSITIONS, 1)
    ]
    sites, left_out = runs[0]
    reasons = Counter(left_out.values())
    layouts: Counter[str] = Counter()
    n_heads, worst = 0, 0.0
    for site, single in zip(sites, runs[1][0], strict=True):
        try:
            factors, errors = proven_factors(site, single)
        except Unreadable as reason:
            reasons[str(reason)] += 1
            continue
        if errors.max() > TOLERANCE:
            reasons[f"off by {errors.max():.1e}, refused"] += 1
            continue
        layouts[factors.layout] += 1
        n_heads, worst = n_heads + len(errors), max(worst, float(errors.max()))
    if not sites and not reasons:
        reasons["makes no call to the attention interface"] += 1
    verdict = "measured" if layouts and not reasons else "in part" if layouts else "not measured"
    return {
        "verdict": verdict, "layouts": ", ".join(layouts), "n_heads": n_heads or "",
        "worst": worst if layouts else None,
        "why": "; ".join(f"{count} × {reason}" for reason, count in reasons.items()),
    }  # fmt: skip


def shrink(config: Any) -> None:
    for name, size in SMALL.items():
        if name == "head_dim" and hasattr(config, "qk_rope_head_dim"):
            continue  # latent attention derives the one from the other
        is_open = name in OPEN or name.endswith("token_id")  # None stands for a size that others give
        if isinstance(getattr(config, name, None), int) or (is_open and hasattr(config, name)):
            try:
                setattr(config, name, size)
            except (ValueError, TypeError, AttributeError, NotImplementedError):
                continue
    if kinds := list(dict.fromkeys(getattr(config, "layer_types", None) or [])):
        config.layer_types = kinds if len(kinds) > 1 else 2 * kinds
        config.num_hidden_layers = len(config.layer_types)
    for value in list(vars(config).values()):
        if isinstance(value, transformers.PretrainedConfig):
            shrink(value)


def randomize(model: nn.Module) -> None:
    """Weights, biases and gains that are all alive: an untrained init has zero biases and gains of one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.3, generator=generator)
            if "norm" in name.lower():
                parameter.add_(1)
    model.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
