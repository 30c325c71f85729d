"""The model that is measured: loaded once, with its attention calls recorded and grouped into stacks."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import psutil

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console, devices
from eigenhouse.ingest.capture.made_up_inputs import main_input, takes_text
from eigenhouse.ingest.capture.recording import Recording, record
from eigenhouse.ingest.capture.sites import KEY_POSITION, QUERY_POSITION, Site
from eigenhouse.ingest.capture.stacks import Stack, find_stacks, position_encoding, tower, unreached
from eigenhouse.ingest.capture.texts import longest_text
from eigenhouse.ingest.geometry import operators
from eigenhouse.ingest.models.loading import LoadedModel, fits_in_memory, load_skeleton, load_tokenizer, load_whole
from eigenhouse.ingest.sources.source import Source
from eigenhouse.options import Ingest


class Workbench:
    """A source's model, whole where attention statistics are wanted and memory allows, else a skeleton."""

    def __init__(self, source: Source, options: Ingest, *, needs_forward: bool) -> None:
        self.source, self.options = source, options
        console.say(f"loading {source.origin}")
        self.loaded = load_skeleton(source, options.trust_remote_code)
        if needs_forward:
            devices.chosen(options.device)
        self.forward_refusal = self._why_not_run() if needs_forward else None
        if self.forward_refusal and options.dynamic_only:
            raise EigenhouseError(f"want attention statistics, but {self.forward_refusal}")
        if needs_forward and self.forward_refusal is None:
            self.tokenizer  # noqa: B018  (a refusal must come before the heavy work)
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
        if not fits_in_memory(self.loaded.model):
            size = 4 * sum(parameter.numel() for parameter in self.loaded.model.parameters()) / 2**30
            free = psutil.virtual_memory().available / 2**30
            return f"prompts need the whole model, {size:.1f} GB in float32, with {free:.1f} GB free"
        return None

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
