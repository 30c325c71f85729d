"""The model that is measured: loaded once, with its attention calls recorded and grouped into stacks."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console, devices
from eigenhouse.ingest.capture import streaming
from eigenhouse.ingest.capture.forward import Reader
from eigenhouse.ingest.capture.made_up_inputs import main_input, takes_text
from eigenhouse.ingest.capture.recording import Recording, record
from eigenhouse.ingest.capture.sites import KEY_POSITION, QUERY_POSITION, Site
from eigenhouse.ingest.capture.stacks import Stack, find_stacks, position_encoding, tower, unreached
from eigenhouse.ingest.capture.streaming import Stream
from eigenhouse.ingest.capture.texts import longest_text
from eigenhouse.ingest.geometry import operators
from eigenhouse.ingest.models import fitting
from eigenhouse.ingest.models.fitting import Fit
from eigenhouse.ingest.models.loading import LoadedModel, load_skeleton, load_tokenizer, load_whole
from eigenhouse.ingest.sources.source import Source
from eigenhouse.options import Ingest

STREAMED_BYTES = 8  # a parameter of the layer that is being read: in float32, and beside it as it was stored


class Workbench:
    """A source's model, whole in float32 where attention statistics are wanted and memory allows, else a skeleton.

    fit: how prompts are run through it; whole in float32 it is the model that is proved as well.
    """

    def __init__(self, source: Source, options: Ingest, *, needs_forward: bool) -> None:
        self.source, self.options = source, options
        console.say(f"loading {source.origin}")
        self.loaded = load_skeleton(source, options.trust_remote_code)
        if needs_forward:
            devices.chosen(options.device)
        self.fit = fitting.fit(self.loaded, options.dtype) if needs_forward else Fit(torch.float32, False)
        self.forward_refusal = self._why_not_run() if needs_forward else None
        if self.forward_refusal and options.dynamic_only:
            raise EigenhouseError(f"want attention statistics, but {self.forward_refusal}")
        if needs_forward and self.forward_refusal is None:
            self.tokenizer  # noqa: B018  (a refusal must come before the heavy work)
            if self.fit == Fit(torch.float32, True):
                self.loaded = load_whole(self.loaded, options.trust_remote_code)

    def _why_not_run(self) -> str | None:
        """Why prompts can't be run through the model here; None if they can."""
        if not takes_text(self.loaded.body):
            return f"prompts are text, and this model takes {main_input(self.loaded.body)}"
        if main_input(self.loaded.body) != "input_ids":
            try:
                self.tokenizer  # noqa: B018
            except EigenhouseError as refusal:  # statistics of text need it, the rest doesn't
                return str(refusal)
        largest = streaming.largest_part(self.loaded.model) * STREAMED_BYTES
        if not self.fit.is_whole and largest > fitting.room(fitting.CPU):
            room = fitting.room(fitting.CPU) / 2**30
            return f"its largest layer takes {largest / 2**30:.1f} GB to read, with room for {room:.1f} GB"
        return None

    def text_reader(self) -> tuple[Reader, list[Site]]:
        """The model that prompts are run through, on the device that has room for it, and the sites of its modules."""
        part, sites, dtype = self.reader, self.sites, self.fit.dtype
        assert part is not None, "prompts are run through a model that takes text"
        pad_id = getattr(self.tokenizer, "pad_token_id", None) or 0
        if not self.fit.is_whole:
            n_bytes = streaming.largest_part(self.loaded.model) * STREAMED_BYTES
            device = fitting.device_for(self.options.device, n_bytes)
            hidden_size = max(site.hidden_size for site in sites)
            stream = Stream(self.loaded, dtype, device, max(0, fitting.room(device) - n_bytes), hidden_size)
            size = fitting.n_bytes(self.loaded.model, dtype) / 2**30
            console.say(f"{size:.1f} GB in {self.fit.name} don't fit: weights are read layer by layer for the prompts")
            return Reader(part, pad_id, self.beside_text, dtype, stream), sites
        if not self.loaded.is_whole:
            console.say(f"prompts are run in {self.fit.name}")
            path = next(path for path, module in self.loaded.model.named_modules() if module is part.model)
            whole = load_whole(self.loaded, self.options.trust_remote_code, dtype=dtype)
            part = replace(whole, model=whole.model.get_submodule(path))
            sites = [replace(site, module=whole.model.get_submodule(site.path)) for site in sites]
        part.model.to(fitting.device_for(self.options.device, fitting.n_bytes(part.model, dtype)))
        return Reader(part, pad_id, self.beside_text, dtype), sites

    @cached_property
    def tokenizer(self) -> Any:
        tokenizer = load_tokenizer(self.source, self.options.trust_remote_code)
        if len(tokenizer) <= len(
            set(tokenizer.all_special_ids)
        ):  # transformers makes an empty one if there are no files
            raise EigenhouseError(
                f"want a tokenizer beside the weights of {self.source.origin} to run prompts, got an empty one; "
                "add its files (tokenizer.json, …) or ingest with STATIC_ONLY=1"
            )
        return tokenizer

    @cached_property
    def _at_one(self) -> list[Site]:
        return self._record(1).sites

    @cached_property
    def _recorded(self) -> Recording:
        """Sites over a number of positions that is no layer's number of heads, so that the axes differ in size."""
        heads = {size for site in self._at_one for size in (site.call.query.shape[1], site.call.key.shape[1])}
        return self._record(next(n for n in range(QUERY_POSITION + 5, 1000) if n not in heads))

    @cached_property
    def singles(self) -> list[Site]:
        """The same sites, recorded at one position where their model can be run so."""
        return self._same(self._at_one)

    @cached_property
    def far_sites(self) -> list[Site | None]:
        """The same sites over as many positions as the rotations asked for need, or as many as the model takes.

        None for a site that doesn't rotate.
        """
        distance = max(map(operators.distance, self.options.variant_names), default=0)
        rotates = [distance > 0 and position_encoding(self.tower(site), site) == "rope" for site in self.sites]
        if not any(rotates):
            return [None] * len(rotates)
        wanted = distance + KEY_POSITION + 1
        longest = longest_text(self.reader.body, self.reader.config, None) if self.reader else None
        far = self._same(self._record(min(wanted, longest or wanted)).sites)
        return [site if is_rotated else None for site, is_rotated in zip(far, rotates, strict=True)]

    def _same(self, sites: list[Site]) -> list[Site]:
        """The sites of a second recording, or of the first one if the other length led to other calls."""
        paths = [[site.path for site in recorded] for recorded in (sites, self.sites)]
        return sites if paths[0] == paths[1] else self.sites

    @property
    def sites(self) -> list[Site]:
        return self._recorded.sites

    @property
    def left_out(self) -> dict[str, str]:
        return self._recorded.left_out

    @property
    def reader(self) -> LoadedModel | None:
        """The part of the model that text runs through: the whole of it, or the first of its towers that can."""
        part = self._recorded.reader
        if part is None or part is self.loaded.body:
            return part and self.loaded
        return replace(self.loaded, model=part)

    @property
    def lacks_encoder(self) -> bool:
        """Whether a decoder alone takes text and its encoder can't be run: it attends to other states then."""
        return main_input(self.loaded.body) != "input_ids" and not self.beside_text

    @property
    def beside_text(self) -> dict[str, Any]:
        """The reader's inputs beside text: made-up sound or images, if only its decoder takes text."""
        return self._recorded.beside

    def tower(self, site: Site) -> Any:
        return tower(self.loaded.model, site.path)

    @cached_property
    def stacks(self) -> list[Stack]:
        if not self.sites:
            left_out = [f"{path}: {reason}" for path, reason in self.left_out.items()]
            why = (left_out or ["no softmax is taken of a product of queries and keys"])[0]
            raise EigenhouseError(
                f"want attention with queries and keys to see, but {type(self.loaded.model).__name__} has none ({why})"
            )
        stacks = find_stacks(self.loaded.model, self.sites)
        stacks[0].skipped |= self.left_out | unreached(self.loaded.model, stacks, self.sites)
        for path in stacks[0].skipped:
            stacks[0].skipped[path] = self._recorded.why_not(path) or stacks[0].skipped[path]
        return stacks

    def _record(self, n_positions: int) -> Recording:
        return record(self.loaded.model, self.loaded.body, n_positions)
