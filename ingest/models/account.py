"""Every stored tensor accounted for: read into a parameter, known to be beside the point, left aside, or refused.

The gate compares factors with the model as it was filled, so it can't see what was not filled in. A tensor
that fills no parameter is judged by its name: within the parts that text or attention passes through it is refused,
elsewhere it is left aside, and the reason goes to `skipped_modules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models.weights import Weight

MOST_NAMED = 3
ADAPTER = re.compile(
    r"(^|\.)(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer|modules_to_save|ia3_l|hada_w\d|prompt_encoder)"
    r"(\.|$)"
)
# what may stay unread, by the end of its name: it changes no number here
BESIDE = re.compile(
    r"(^|[._])("
    r"(rotary|rope)\w*\.(inv_freq|cos_cached|sin_cached|freqs)|freqs_cis|"  # made anew from the config
    r"position_ids|token_type_ids|num_batches_tracked|version|"  # counts, not weights
    r"(input|output|activation)_(global_)?(scale|zero_point)(_ub)?|"  # activations run in full precision here
    r"[qkv]_scale|(kv_cache|prob|bmm)\w*_scal\w+)$"
)
MASK = re.compile(r"(^|[._])(masked_bias|causal_mask|(attn|attention)\.(bias|mask))$")
# parts that neither text nor attention passes through, where the model's class has no such part
ELSEWHERE = re.compile(
    r"(^|_)(heads?|cls|score|scorer|pooler|mtp|nextn|medusa|eagle|draft|loss|criterion|reward|teacher|ema|optimizer|"
    r"discriminator|generator|logits?|qa_outputs|projector)(_|\d|$)|classif|predict|vision|visual|image|audio|speech",
    re.IGNORECASE,
)


def want_whole(model: Any, missing: Iterable[str], mismatched: Mapping[str, str], origin: str) -> None:
    """Refuse a checkpoint that lacks weights of the model's body, or has them in another shape.

    transformers fills what is missing with random numbers; that may do for a pooler or an output head.
    mismatched: parameter → the two shapes, in words.
    """
    body = getattr(model, "base_model", model)
    prefix = next((name for name, module in model.named_modules() if module is body), "")
    ignored = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    lacks = sorted(
        name
        for name in missing
        if name.startswith(prefix)
        and not any(word in name for word in ("pooler", "lm_head"))
        and not any(re.search(pattern, name) for pattern in ignored)
    )
    if lacks or mismatched:
        first = lacks[0] if lacks else "{} {}".format(*next(iter(sorted(mismatched.items()))))
        how = f"{len(lacks)} are missing" if lacks else f"{len(mismatched)} have another shape"
        empty = "0" in re.findall(r"\d+", first.partition("[")[2].partition("]")[0])
        cause = "config and weights are of different models, or a file lacks"
        if empty and not lacks:
            cause = "an empty one is what a ZeRO-3 run leaves where it saves without gathering"
        raise EigenhouseError(
            f"want every weight of {type(model).__name__}, but in {origin} {how}, {first} first; {cause}"
        )


def unexpected(model: Any, left: Mapping[str, Weight], origin: str) -> dict[str, str]:
    """Why weights that fill no parameter may be left aside: module → reason.

    left: the name that the model would give it → weight. Raises EigenhouseError where one may change attention.
    """
    if adapters := sorted(name for name in left if ADAPTER.search(name)):
        raise EigenhouseError(
            f"want plain weights in {origin}, got an adapter that is not merged ({_named(adapters)}); merge it (peft's "
            "merge_and_unload) and save the model again"
        )
    ignored = [*(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())]
    unknown = [
        name
        for name, weight in left.items()
        if not any(re.search(pattern, name) for pattern in ignored)
        and not BESIDE.search(name)
        and not (MASK.search(name) and (weight.dtype in (torch.bool, torch.uint8) or len(weight.shape) != 1))
        and not (name.endswith(".bias") and not weight.is_code and not bool(weight.read().any()))  # adds nothing
    ]
    aside: dict[str, list[str]] = {}
    within = []
    for name in sorted(unknown):
        part = _first_unknown(model, name)
        if _is_elsewhere(model, part) or _predicts_further(model, part):
            aside.setdefault(part, []).append(name)
        else:
            within.append(name)
    if within:
        raise EigenhouseError(_refusal(model, within, origin))
    return {part: f"stored, but no part of {type(model).__name__}: {_named(names)}" for part, names in aside.items()}


def _first_unknown(model: Any, name: str) -> str:
    """The part of a stored name that names modules of the model, and one step more."""
    steps = name.split(".")
    n_known = next(n for n in range(len(steps)) if n + 1 == len(steps) or not _has(model, ".".join(steps[: n + 1])))
    return ".".join(steps[: n_known + 1])


def _is_elsewhere(model: Any, part: str) -> bool:
    """Whether a part is outside of what text and attention pass through: an output head, or a tower the class lacks."""
    path, _, own = part.rpartition(".")
    around, body = model.get_submodule(path), getattr(model, "base_model", model)
    if path and body is not model and not any(module is around for module in body.modules()):
        return True  # within an output head
    return around in (model, body) and bool(ELSEWHERE.search(own))


def _predicts_further(model: Any, part: str) -> bool:
    """Whether a part is a layer behind the last one that predicts tokens further ahead; the config sets how many."""
    path, _, own = part.rpartition(".")
    layers, n_further = model.get_submodule(path), getattr(model.config, "num_nextn_predict_layers", None) or 0
    is_layer = isinstance(layers, nn.ModuleList) and own.isdecimal()
    return is_layer and len(layers) <= int(own) < len(layers) + n_further


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _refusal(model: Any, names: list[str], origin: str) -> str:
    numbered = {name: re.match(r"(.*?)\.(\d+)\.", name) for name in names}
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    for name, match in numbered.items():
        if match and match[1] in lists and int(match[2]) >= len(lists[match[1]]):
            return (
                f"want the layers that the config names, {len(lists[match[1]])} in {match[1]}; {origin} stores more "
                f"({name}): config and weights are of different models"
            )
    n_fit = "one fits" if len(names) == 1 else f"{len(names)} fit"
    return (
        f"want a parameter of {type(model).__name__} for every weight in {origin}, but {n_fit} none ({_named(names)}) "
        "and may bear on its attention; the config switches a part off, or is of another model"
    )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def want_values(parameter: str, weight: Weight, target: torch.Tensor, origin: str) -> None:
    """Refuse codes where the parameter wants values: what would dequantize them is missing or unknown."""
    if weight.is_code and (target.is_floating_point() or target.is_complex()) and weight.dtype != target.dtype:
        raise EigenhouseError(
            f"want {parameter} as floats, but {origin} stores it as {weight.format} without the scales that make "
            "values of codes (weight_scale_inv, weight_scale, SCB, …): missing, or of a method that is not known here"
        )
