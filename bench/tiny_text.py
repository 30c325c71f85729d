"""A tokenizer of whole words and texts for it, for the tiny models of tests and walks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

N_WORDS = 97
WORDS = [f"w{number}" for number in range(2, N_WORDS)]  # after padding and unknown words


def save_tokenizer(folder: Path, words: Iterable[str] = WORDS) -> None:
    """tokenizer.json and tokenizer_config.json, as from a hub."""
    numbers = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    entries = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(entries))


def prompts(folder: Path, *lengths: int) -> Path:
    """A prompt file with texts of these many tokens."""
    path = folder / "tiny.txt"
    path.write_text("\n".join(" ".join(f"w{(7 * i + n) % 95 + 2}" for i in range(n)) for n in lengths))
    return path
