"""A model's family: the stem of its name, which is all of it before a word that says a size, a tuning or a format.

The name comes without its organization, in lower case, cut at `-`, `_` and spaces. The stem begins at a word that
starts with the model type's own (the letters before its version, four or more: `qwen` of `qwen2`), so that a fine-tune
whose name tells what it is made of goes with that; else at the first. Versions stay, written without a hyphen:
gemma-3-270m and gemma3-270m are `gemma3`. A name without a stem (`7b`, `model`) leaves the model type.
"""

from __future__ import annotations

import re

MAKERS = {"all", "meta", "paraphrase"}  # before a stem, and no part of it
NO_NAMES = {"checkpoint", "final", "latest", "main", "model", "output", "weights"}
SIZES = {"tiny", "mini", "small", "base", "medium", "large", "xl", "xxl", "xlarge", "huge", "giant", "nano", "micro"}
TUNINGS = {
    "alpha", "beta", "cased", "chat", "deduped", "distill", "dpo", "finetuned", "ft", "instruct", "it", "preview", "pt",
    "rlhf", "sft", "uncased",
}  # fmt: skip
FORMATS = {"awq", "bf16", "bnb", "fp16", "fp32", "fp8", "gguf", "gptq", "hf", "int4", "int8", "mlx", "onnx"}
# 135m, 1.1b, 8x7b, a3b, 128k · layers or dimensions, l6 · a release, v0.1 · a date, 1124 · codes, q4 and 4bit · a step
NUMBERED = re.compile(
    r"(\d+x)?[ae]?\d+(\.\d+)?[kmbt]|[lhd]\d+|v\d+(\.\d+)*|\d{4,}|i?q\d\w*|\d+bit|(step|iter|checkpoint|ckpt)\d*"
)


def family(name: str, model_type: str | None) -> str:
    """name: without revision and stack · model_type: as the config names it, None for an imported file."""
    last = name.rstrip("/").rpartition("/")[2].casefold()
    words = [word for word in re.split(r"[-\s]+|_(?!\d)|(?<!\d)_", last) if word]
    words = [word.replace("_", ".") for word in words]  # 1_6b is 1.6b
    stem = _stem(words[_beginning(words, model_type or "") :])
    return stem or model_type or last


def _beginning(words: list[str], model_type: str) -> int:
    kind = re.split(r"[\d_-]", model_type.casefold(), maxsplit=1)[0]
    own = (place for place, word in enumerate(words) if len(kind) >= 4 and word.startswith(kind))
    return next(own, int(len(words) > 1 and words[0] in MAKERS))


def _stem(words: list[str]) -> str:
    stem = ""
    for place, word in enumerate(words):
        if word in NO_NAMES or NUMBERED.fullmatch(word) or (place and word in SIZES | TUNINGS | FORMATS):
            break
        stem += word if not stem or word[0].isdigit() else f"-{word}"
    return stem
