"""Prompts run through the model, batch by batch, and the statistics of each head on them. Fills `attention_stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.capture.attention import AttentionCall, head_stats
from eigenhouse.ingest.capture.kernel import listening, own_kernel
from eigenhouse.ingest.capture.sites import Site
from eigenhouse.ingest.models.loading import LoadedModel, first_line
from eigenhouse.ingest.sources.prompts import PromptSet

MAX_BATCH = 8  # prompts
MAX_TOKENS = 2048  # a batch, padding counted
COMPARED = 512  # tokens of a text: the model's own eager attention holds all its weights (query, key) at once
OFF = 1e-2  # of a hidden state's norm; a kernel that computes something else is off by about the norm itself

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


def run_prompts(
    loaded: LoadedModel,
    sites: list[Site],
    tokenized: list[TokenizedPrompt],
    pad_id: int,
    advance: Callable[[int], None],
    beside: Inputs | None = None,
) -> dict[int, list[dict[str, np.ndarray]]]:
    """Site index → for every prompt, in order, the statistics of its heads, (head,) each.

    Padding stands on the right, is masked for the model and left out of every mean. Raises EigenhouseError where the
    device runs out of memory. beside: the model's inputs beside text. Calls whose queries or keys depend on those
    inputs alone are then left out.
    """
    order = {(site.path, nth): index for index, (site, nth) in enumerate(_numbered(sites))}
    if beside:
        of_text = _made_of_text(loaded, beside)
        order = {place: index for place, index in order.items() if place in of_text}
    paths = {site.module: site.path for site in sites}
    results: dict[int, dict[int, dict[str, np.ndarray]]] = {index: {} for index in range(len(sites))}
    device = next(loaded.model.parameters()).device
    for batch in _batches(tokenized):
        inputs, is_real = _padded(loaded, batch, pad_id, device, beside)
        calls: Counter[str] = Counter()

        def measure(
            call: AttentionCall,
            is_real: torch.Tensor = is_real,
            calls: Counter[str] = calls,
            batch: list[TokenizedPrompt] = batch,
        ) -> None:
            path = paths.get(call.module, "")
            index = order.get((path, calls[path]))
            calls[path] += 1
            if index is not None:
                stats = {name: value.numpy() for name, value in head_stats(call, is_real).items()}
                for row, prompt in enumerate(batch):
                    results[index][prompt.prompt] = {name: value[row] for name, value in stats.items()}

        traced_batch = len(batch) if any(site.is_traced for site in sites) else 0
        with listening(measure, traced_batch):
            _forward(loaded, inputs)
        advance(len(batch))
    return {index: [rows[i] for i in sorted(rows)] for index, rows in results.items() if rows}


def _made_of_text(loaded: LoadedModel, beside: Inputs) -> set[tuple[str, int]]:
    """(path, nth call) of the attention calls whose queries and keys change with the tokens."""
    paths = {module: path for path, module in loaded.model.named_modules()}
    device = next(loaded.model.parameters()).device
    by_token: list[dict[tuple[str, int], AttentionCall]] = []
    for token in (1, 2):
        calls: Counter[str] = Counter()
        by_place: dict[tuple[str, int], AttentionCall] = {}

        def keep(
            call: AttentionCall, calls: Counter[str] = calls, by_place: dict[Any, AttentionCall] = by_place
        ) -> None:
            path = paths[call.module]
            by_place[path, calls[path]] = call
            calls[path] += 1

        inputs, _ = _padded(loaded, [TokenizedPrompt(0, [token] * 3)], 0, device, beside)
        with listening(keep, 1):
            _forward(loaded, inputs)
        by_token.append(by_place)
    return {
        place
        for place, call in by_token[0].items()
        if (other := by_token[1].get(place)) is not None
        and not torch.equal(call.query, other.query)
        and not torch.equal(call.key, other.key)
    }


def share_off_eager(
    loaded: LoadedModel, tokenized: list[TokenizedPrompt], pad_id: int, beside: Inputs | None = None
) -> float:
    """Share of the tokens whose hidden states under our kernel differ from those under the model's own eager attention.

    The batch is the first COMPARED tokens of the longest and of the shortest prompt. A difference below OFF of a
    state's norm is rounding. A share is needed because rounding alone may send a token to other experts. 0 for a model
    that doesn't call our kernel. Raises EigenhouseError where the model can't be run.
    """
    by_length = sorted(tokenized, key=lambda prompt: len(prompt.ids))
    batch = [replace(prompt, ids=prompt.ids[:COMPARED]) for prompt in (by_length[0], by_length[-1])]
    inputs, is_real = _padded(loaded, batch, pad_id, next(loaded.model.parameters()).device, beside)
    callers = set[Any]()

    def states() -> torch.Tensor:
        with torch.random.fork_rng():  # Reformer's hashes and VITS's lengths are drawn
            torch.manual_seed(0)
            return _states(_forward(loaded, inputs), is_real)

    with listening(lambda call: callers.add(call.module)):
        ours = states()
    if not callers:
        return 0.0
    with own_kernel(loaded.model):
        theirs = states()
    if theirs.shape != ours.shape:
        return 1.0
    is_right = (ours - theirs).norm(dim=-1) <= OFF * theirs.norm(dim=-1)
    return 1 - float(is_right.float().mean())


def _states(output: Any, is_real: torch.Tensor) -> torch.Tensor:
    """What a model returned, as (token, feature), or as (text, feature) if it returned nothing by token."""
    values = [output] if isinstance(output, torch.Tensor) else output.values() if isinstance(output, dict) else output
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    by_token = next((value for value in tensors if value.dim() == 3 and value.shape[:2] == is_real.shape), None)
    if by_token is not None:
        return by_token[is_real].float()
    return torch.cat([value.reshape(len(value), -1) for value in tensors if value.dim()] or [is_real], dim=1).float()


def _forward(loaded: LoadedModel, inputs: Inputs) -> Any:
    ids = inputs["decoder_input_ids"] if "input_ids" not in inputs else inputs["input_ids"]
    cache = {"use_cache": False} if _takes_cache(loaded) else {}
    try:
        with torch.no_grad():
            return loaded.body(**inputs, **cache)
    except torch.OutOfMemoryError as error:
        raise EigenhouseError(
            f"out of memory on {ids.device} at {ids.numel()} tokens; use DEVICE=cpu, shorter prompts, or STATIC_ONLY=1"
        ) from error
    except EigenhouseError:
        raise
    except Exception as error:
        raise EigenhouseError(
            f"want {type(loaded.model).__name__} to run {ids.numel()} tokens of text, but it raised "
            f"{type(error).__name__}: {first_line(error)}; STATIC_ONLY=1 does without"
        ) from error


def _takes_cache(loaded: LoadedModel) -> bool:
    return hasattr(loaded.model.config.get_text_config(), "use_cache")


def _padded(
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


def _batches(tokenized: list[TokenizedPrompt]) -> Iterator[list[TokenizedPrompt]]:
    """Prompts of like length together, longest first, so that little is padding and memory runs out early or never."""
    batch: list[TokenizedPrompt] = []
    for prompt in sorted(tokenized, key=lambda prompt: -len(prompt.ids)):
        if batch and (len(batch) == MAX_BATCH or len(batch[0].ids) * (len(batch) + 1) > MAX_TOKENS):
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch


def _numbered(sites: list[Site]) -> Iterator[tuple[Site, int]]:
    """Each site with how often its module was called before it: layers may share a module."""
    seen: Counter[str] = Counter()
    for site in sites:
        yield site, seen[site.path]
        seen[site.path] += 1
