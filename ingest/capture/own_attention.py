"""Whether a model does the same under our kernel as under its own: statistics count only where it does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from eigenhouse.ingest.capture.forward import Found, Reader, by_token, tensors
from eigenhouse.ingest.capture.kernel import own_kernel
from eigenhouse.ingest.capture.streaming import Job
from eigenhouse.ingest.capture.texts import TokenizedPrompt

MOST_OFF = 0.01  # of the tokens: rounding alone may send a token to other experts
# of a hidden state's norm; a kernel that computes something else is off by about the norm itself
OFF = {torch.float32: 1e-2, torch.float16: 3e-2, torch.bfloat16: 0.2}
COMPARED = 512  # tokens of a text: the model's own eager attention holds all its weights (query, key) at once
SHARE = 16  # of all tokens to one that is compared, but COMPARED_AT_LEAST in any case: what the comparison may cost
COMPARED_AT_LEAST = 64


def compared(tokenized: list[TokenizedPrompt]) -> list[TokenizedPrompt]:
    """The shortest prompt, which has padding beside it when it is run, and a long one, or the beginning of the longest.

    A whole text is better: its beginning alone has other states than within it where a model looks ahead.
    """
    by_length = sorted(tokenized, key=lambda prompt: len(prompt.ids))
    n_tokens = sum(len(prompt.ids) for prompt in tokenized)
    most = min(COMPARED, max(COMPARED_AT_LEAST, n_tokens // SHARE))
    shortest = replace(by_length[0], ids=by_length[0].ids[:COMPARED_AT_LEAST])
    whole = [prompt for prompt in by_length[1:] if most / 2 <= len(prompt.ids) <= most]
    longest = whole[-1] if whole else replace(by_length[-1], ids=by_length[-1].ids[:most])
    return [shortest, longest] if longest.prompt != shortest.prompt else [longest]


def share_off_eager(reader: Reader, tokenized: list[TokenizedPrompt], found: Found) -> float:
    """Share of the compared tokens whose hidden states are other ones under the model's own eager attention.

    A difference below OFF of a state's norm is rounding. 0 for a model that doesn't call our kernel. Where the states
    that are there differ, both kernels are run on one and the same batch before anything is said: a beginning has
    other states than within its text where a model looks ahead, and some models draw random numbers.
    """
    if not found.is_heard:
        return 0.0
    ours, theirs = found.states, found.own_states
    if ours and {prompt: own.shape for prompt, own in theirs.items()} == {p: own.shape for p, own in ours.items()}:
        share = _share_off(
            torch.cat([ours[prompt] for prompt in theirs]), torch.cat(list(theirs.values())), OFF[reader.dtype]
        )
        if share <= MOST_OFF:
            return share
    return _share_off_in_one_batch(reader, tokenized)


def _share_off_in_one_batch(reader: Reader, tokenized: list[TokenizedPrompt]) -> float:
    """The same for the first COMPARED tokens of the longest and of the shortest prompt, in one batch under both."""
    by_length = sorted(tokenized, key=lambda prompt: len(prompt.ids))
    batch = [replace(prompt, ids=prompt.ids[:COMPARED]) for prompt in (by_length[0], by_length[-1])]
    inputs, is_real = reader.padded(batch)

    states: list[torch.Tensor] = []

    def keep_states() -> None:
        with torch.random.fork_rng():  # Reformer's hashes and VITS's lengths are drawn
            torch.manual_seed(0)
            states.append(_states(reader.forward(inputs), is_real))

    own = partial(own_kernel, reader.loaded.model)
    reader.run([Job(keep_states, is_real.numel()), Job(keep_states, is_real.numel(), own)])
    ours, theirs = states
    return 1.0 if theirs.shape != ours.shape else _share_off(ours, theirs, OFF[reader.dtype])


def _share_off(ours: torch.Tensor, theirs: torch.Tensor, off: float) -> float:
    is_right = (ours - theirs).norm(dim=-1) <= off * theirs.norm(dim=-1)
    return 1 - float(is_right.float().mean())


def _states(output: Any, is_real: torch.Tensor) -> torch.Tensor:
    """What a model returned, as (token, feature), or as (text, feature) if it returned nothing by token."""
    states = by_token(output, is_real)
    if states is not None:
        return states[is_real].float()
    values = [value.reshape(len(value), -1) for value in tensors(output) if value.dim()]
    return torch.cat(values or [is_real], dim=1).float()
