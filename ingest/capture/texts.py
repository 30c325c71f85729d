"""Prompts as token ids: cut to what a model takes, put together in batches, padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models.loading import LoadedModel
from eigenhouse.ingest.sources.prompts import PromptSet

MAX_BATCH = 8  # prompts
MAX_TOKENS = 2048  # a batch, padding counted

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TokenizedPrompt:
    prompt: int
    ids: list[int]


def tokenize(
    tokenizer: Any, prompts: PromptSet, max_length: int | None, say: Callable[[str], None]
) -> list[TokenizedPrompt]:
    """Token ids with the model's own special tokens, cut at max_length with a notice.

    Raises EigenhouseError for none.
    """
    tokenized, cut = [], []
    for index, text in enumerate(prompts.texts):
        ids = list(tokenizer(text, truncation=False)["input_ids"])
        if not ids:
            raise EigenhouseError(f"want at least one token a prompt; prompt {index} of {prompts.name} gives none")
        if max_length is not None and len(ids) > max_length:
            cut.append(index)
            ids = list(tokenizer(text, truncation=True, max_length=max_length)["input_ids"])[:max_length]
        tokenized.append(TokenizedPrompt(index, ids))
    if cut:
        say(
            f"{len(cut)} of {len(prompts.texts)} prompts are longer than the model's {max_length} positions; "
            f"their first {max_length} tokens are measured"
        )
    return tokenized


def longest_text(body: Any, config: Any, tokenizer: Any) -> int | None:
    """Positions the model has; None without a bound. RoBERTa and its like count from behind the padding id."""
    tables = [module for name, module in body.named_modules() if name.endswith("position_embeddings")]
    padded = [table for table in tables if getattr(table, "padding_idx", None) is not None]
    if padded:
        return min(len(table.weight) - int(table.padding_idx) - 1 for table in padded)
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")
    bounds = [getattr(config, name, None) for name in names]
    bounds.append(getattr(tokenizer, "model_max_length", None))
    known = [int(bound) for bound in bounds if isinstance(bound, int | float) and 0 < bound < 1e9]
    return min(known, default=None)


def padded(
    loaded: LoadedModel, batch: list[TokenizedPrompt], pad_id: int, device: torch.device, beside: Inputs | None
) -> tuple[Inputs, torch.Tensor]:
    """The inputs of a forward pass, and which tokens are real; inputs beside text are the same for the whole batch."""
    width = max(len(prompt.ids) for prompt in batch)
    ids = torch.tensor([prompt.ids + [pad_id] * (width - len(prompt.ids)) for prompt in batch], device=device)
    mask = torch.tensor([[1] * len(prompt.ids) + [0] * (width - len(prompt.ids)) for prompt in batch], device=device)
    decoded = {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    if beside:
        return decoded | {
            name: value.to(device).repeat_interleave(len(batch), 0) for name, value in beside.items()
        }, mask.bool()
    inputs = {"input_ids": ids, "attention_mask": mask}
    return inputs | (decoded if loaded.model.config.is_encoder_decoder else {}), mask.bool()


def batches(tokenized: list[TokenizedPrompt]) -> Iterator[list[TokenizedPrompt]]:
    """Prompts of like length together, longest first, so that little is padding and memory runs out early or never."""
    batch: list[TokenizedPrompt] = []
    for prompt in sorted(tokenized, key=lambda prompt: -len(prompt.ids)):
        if batch and (len(batch) == MAX_BATCH or len(batch[0].ids) * (len(batch) + 1) > MAX_TOKENS):
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch
