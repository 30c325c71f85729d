"""Prompts run through the model, batch by batch, and the statistics of each head on them. Fills `attention_stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest import console
from eigenhouse.ingest.capture.attention import AttentionCall, measured
from eigenhouse.ingest.capture.kernel import Output, listening, own_kernel
from eigenhouse.ingest.capture.sites import Site
from eigenhouse.ingest.capture.streaming import Job, Stream
from eigenhouse.ingest.capture.texts import Inputs, TokenizedPrompt, batches, padded
from eigenhouse.ingest.models.loading import LoadedModel

Place = tuple[str, int]  # path of a module, and how many calls of it came before in the forward pass
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reader:
    """The model that text runs through. beside: its inputs beside text · stream: where its weights come from, if it
    isn't whole in memory."""

    loaded: LoadedModel
    pad_id: int
    beside: Inputs = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    stream: Stream | None = None

    @property
    def device(self) -> torch.device:
        return self.stream.device if self.stream else next(self.loaded.model.parameters()).device

    def padded(self, batch: list[TokenizedPrompt]) -> tuple[Inputs, torch.Tensor]:
        inputs, is_real = padded(self.loaded, batch, self.pad_id, self.device, self.beside)
        return {k: value.to(self.dtype) if value.is_floating_point() else value for k, value in inputs.items()}, is_real

    def run(self, jobs: list[Job]) -> None:
        """Forward passes, one after the other; all at a time through each layer where weights are streamed."""
        if self.stream:
            self.stream.run(jobs)
            return
        for job in jobs:
            with job.around():
                job.run()

    def forward(self, inputs: Inputs) -> Any:
        """Raises torch.OutOfMemoryError as it is, and an EigenhouseError for whatever else the model raises."""
        ids = inputs["decoder_input_ids"] if "input_ids" not in inputs else inputs["input_ids"]
        takes_cache = hasattr(self.loaded.model.config.get_text_config(), "use_cache")
        try:
            with torch.no_grad():
                return self.loaded.body(**inputs, **({"use_cache": False} if takes_cache else {}))
        except (EigenhouseError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise EigenhouseError(
                f"want {type(self.loaded.model).__name__} to run {ids.numel()} tokens of text, but it raised "
                f"{type(error).__name__}: {first_line(error)}; STATIC_ONLY=1 does without"
            ) from error


@dataclass
class Found:
    """What a run over prompts gives.

    stats: site index → prompt → statistics of its heads, (head,) each · states, own_states: prompt → hidden states
    (token, feature) of the texts to compare, under our kernel and under the model's own; absent where a model returns
    none by token · is_heard: whether any module called our kernel.
    """

    stats: dict[int, dict[int, dict[str, np.ndarray]]]
    states: dict[int, torch.Tensor] = field(default_factory=dict)
    own_states: dict[int, torch.Tensor] = field(default_factory=dict)
    is_heard: bool = False


def run_prompts(
    reader: Reader,
    sites: list[Site],
    tokenized: list[TokenizedPrompt],
    advance: Callable[[int], None],
    compared: Iterable[TokenizedPrompt] = (),
) -> Found:
    """The statistics of every head that text reaches, on every prompt.

    Padding stands on the right, is masked for the model and left out of every mean. Calls whose queries or keys depend
    on the inputs beside text alone are left out. compared: texts, mostly beginnings of prompts, whose hidden states
    are kept, and run once more under the model's own kernel. Raises EigenhouseError where the model can't be run.
    """
    run = _Run(reader, sites, {text.prompt: len(text.ids) for text in compared})
    own = partial(own_kernel, reader.loaded.model)
    jobs = [Job(partial(run.measure, batch, advance), _size(batch)) for batch in batches(tokenized)]
    jobs += [Job(partial(run.keep_own, text), _size([text]), own) for text in compared]
    reader.run(jobs)
    run.found.stats = {index: rows for index, rows in run.found.stats.items() if rows}
    return run.found


class _Run:
    def __init__(self, reader: Reader, sites: list[Site], lengths: dict[int, int]) -> None:
        self.reader, self.lengths = reader, lengths
        self.order = {(site.path, nth): index for index, (site, nth) in enumerate(_numbered(sites))}
        if reader.beside:
            of_text = _made_of_text(reader)
            self.order = {place: index for place, index in self.order.items() if place in of_text}
        self.is_traced = any(site.is_traced for site in sites)
        self.found = Found({index: {} for index in range(len(sites))})
        self.paths = {site.module: site.path for site in sites}

    def measure(self, batch: list[TokenizedPrompt], advance: Callable[[int], None]) -> None:
        """Statistics of a batch; of half as many texts at a time, then on the CPU, where a device's memory ends."""
        try:
            self._measure(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1 and (self.reader.device == CPU or self.reader.stream):
                raise _no_memory(batch, CPU) from error
        else:
            advance(len(batch))
            return
        if len(batch) == 1:  # outside the handler, which keeps the tensors of the failed pass
            console.say(f"{self.reader.device} has no memory for {len(batch[0].ids)} tokens: going on on the CPU")
            self.reader.loaded.model.to(CPU)
            self.measure(batch, advance)
            return
        half = len(batch) // 2
        console.say(f"{self.reader.device} has no memory for {len(batch)} prompts at a time: trying {half}")
        self.measure(batch[:half], advance)
        self.measure(batch[half:], advance)

    def _measure(self, batch: list[TokenizedPrompt]) -> None:
        inputs, is_real = self.reader.padded(batch)
        stats: dict[int, dict[str, torch.Tensor]] = {}
        calls: Counter[str] = Counter()

        def hear(call: AttentionCall) -> Output | None:
            self.found.is_heard |= call.value is not None
            path = self.paths.get(call.module, "")
            index = self.order.get((path, calls[path]))
            calls[path] += 1
            if index is None:
                return None
            stats[index], output = measured(call, is_real)
            return None if output is None else Output(output)

        with listening(hear, len(batch) if self.is_traced else 0):
            states = by_token(self.reader.forward(inputs), is_real)
        for index, of_site in _on_host(stats).items():
            for row, prompt in enumerate(batch):
                self.found.stats[index][prompt.prompt] = {name: value[row] for name, value in of_site.items()}
        for row, prompt in enumerate(batch):
            if prompt.prompt in self.lengths and states is not None:
                self.found.states[prompt.prompt] = states[row, : self.lengths[prompt.prompt]].float().cpu()

    def keep_own(self, text: TokenizedPrompt) -> None:
        inputs, is_real = self.reader.padded([text])
        try:
            states = by_token(self.reader.forward(inputs), is_real)
        except torch.OutOfMemoryError as error:
            raise _no_memory([text], self.reader.device) from error
        if states is not None:
            self.found.own_states[text.prompt] = states[0].float().cpu()


def _on_host(stats: dict[int, dict[str, torch.Tensor]]) -> dict[int, dict[str, np.ndarray]]:
    """The statistics of all sites in one copy: (batch, head) each."""
    if not stats:
        return {}
    names = list(next(iter(stats.values())))
    stacked = {index: torch.stack([of_site[name] for name in names]) for index, of_site in stats.items()}
    flat = torch.cat([value.flatten() for value in stacked.values()]).cpu()
    parts = flat.split([value.numel() for value in stacked.values()])
    return {
        index: dict(zip(names, part.view(value.shape).numpy(), strict=True))
        for (index, value), part in zip(stacked.items(), parts, strict=True)
    }


def not_finite(found: Found) -> int:
    """How many heads and prompts have queries and no finite entropy: a dtype overflows, or a part ran unfilled."""
    each = (stats for by_prompt in found.stats.values() for stats in by_prompt.values())
    return sum(int((~np.isfinite(stats["entropy_nats"]) & (stats["n_queries"] > 0)).sum()) for stats in each)


def _size(batch: list[TokenizedPrompt]) -> int:
    """Tokens of a batch, padding counted."""
    return len(batch) * max(len(prompt.ids) for prompt in batch)


def by_token(output: Any, is_real: torch.Tensor) -> torch.Tensor | None:
    """The hidden states that a model returned, (text, token, feature); None if it returned nothing by token."""
    return next((value for value in tensors(output) if value.dim() == 3 and value.shape[:2] == is_real.shape), None)


def tensors(output: Any) -> list[torch.Tensor]:
    values = [output] if isinstance(output, torch.Tensor) else output.values() if isinstance(output, dict) else output
    return [value for value in values if isinstance(value, torch.Tensor)]


def _no_memory(batch: list[TokenizedPrompt], device: torch.device) -> EigenhouseError:
    n_tokens = sum(len(prompt.ids) for prompt in batch)
    return EigenhouseError(f"out of memory on {device} at {n_tokens} tokens; use shorter prompts, or STATIC_ONLY=1")


def _made_of_text(reader: Reader) -> set[Place]:
    """The attention calls whose queries and keys change with the tokens."""
    paths = {module: path for path, module in reader.loaded.model.named_modules()}
    by_token: list[dict[Place, AttentionCall]] = []
    jobs: list[Job] = []
    for token in (1, 2):
        calls: Counter[str] = Counter()
        by_place: dict[Place, AttentionCall] = {}

        def keep(
            call: AttentionCall, calls: Counter[str] = calls, by_place: dict[Any, AttentionCall] = by_place
        ) -> None:
            path = paths[call.module]
            by_place[path, calls[path]] = call
            calls[path] += 1

        inputs, _ = reader.padded([TokenizedPrompt(0, [token] * 3)])

        def listened(inputs: Inputs = inputs, keep: Callable[[AttentionCall], None] = keep) -> None:
            with listening(keep, 1):
                reader.forward(inputs)

        jobs.append(Job(listened, 3))
        by_token.append(by_place)
    reader.run(jobs)
    return {
        place
        for place, call in by_token[0].items()
        if (other := by_token[1].get(place)) is not None
        and not torch.equal(call.query, other.query)
        and not torch.equal(call.key, other.key)
    }


def _numbered(sites: list[Site]) -> Iterator[tuple[Site, int]]:
    """Each site with how often its module was called before it: layers may share a module."""
    seen: Counter[str] = Counter()
    for site in sites:
        yield site, seen[site.path]
        seen[site.path] += 1
