"""The model under measurement: loaded once, its attention calls recorded, its stacks told apart."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import psutil
import torch

from ingest import capture, console, operators
from ingest.capture import Site
from ingest.conformance import KEY_POSITION, QUERY_POSITION
from ingest.errors import EigenhouseError
from ingest.forward import longest_text, usable_device
from ingest.loading import LoadedModel, first_line, fits_in_memory, load_model, load_tokenizer
from ingest.sources import Source
from ingest.stacks import Stack, find_stacks, position_encoding, unreached

if TYPE_CHECKING:
    from ingest.pipeline import Options

FIRST_TOKEN = 5  # past the special tokens of most vocabularies; only shapes and rotary tables are taken from the probe


class Workbench:
    """A source's model, whole where attention statistics are wanted and memory allows, else a skeleton."""

    def __init__(self, source: Source, options: Options, *, needs_forward: bool) -> None:
        self.source, self.options = source, options
        console.say(f"loading {source.origin}")
        self.loaded = load_model(source, options.trust_remote_code, whole=False)
        if needs_forward:
            usable_device(options.device)
        self.forward_refusal = self._why_not_run() if needs_forward else None
        if self.forward_refusal and options.dynamic_only:
            raise EigenhouseError(f"want attention statistics, but {self.forward_refusal}")
        if needs_forward and self.forward_refusal is None:
            self.tokenizer  # noqa: B018  (refused before the heavy work)
            self.loaded = load_model(source, options.trust_remote_code, whole=True)

    def _why_not_run(self) -> str | None:
        """Why prompts can't be run through the model here, where they can't."""
        wanted = getattr(self.loaded.body, "main_input_name", "input_ids")
        if wanted != "input_ids":
            return f"prompts are text, and this model takes {wanted}"
        if not fits_in_memory(self.loaded.model):
            size = 4 * sum(parameter.numel() for parameter in self.loaded.model.parameters()) / 2**30
            free = psutil.virtual_memory().available / 2**30
            return f"prompts need the whole model, {size:.1f} GB in float32, with {free:.1f} GB free"
        return None

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.source, self.options.trust_remote_code)

    @cached_property
    def _recorded(self) -> tuple[list[Site], dict[str, str]]:
        """Sites over a number of positions that no layer has as its number of heads, so that the axes differ."""
        self.singles  # noqa: B018  (recorded first: they tell the head counts)
        heads = {size for site in self.singles for size in (site.call.query.shape[1], site.call.key.shape[1])}
        n_positions = next(n for n in range(QUERY_POSITION + 5, 1000) if n not in heads)
        return self._record(n_positions)

    @cached_property
    def singles(self) -> list[Site]:
        """The same sites, recorded at one position."""
        return self._record(1)[0]

    @cached_property
    def far_sites(self) -> list[Site]:
        """The same sites over as many positions as the rotations asked for need, as far as the model takes them."""
        distance = max(map(operators.distance, self.options.variant_names), default=0)
        if not distance or position_encoding(self.loaded.model, self.sites[0]) != "rope":
            return []
        wanted = distance + KEY_POSITION + 1
        return self._record(min(wanted, longest_text(self.loaded.body, self.loaded.config, None) or wanted))[0]

    @property
    def sites(self) -> list[Site]:
        return self._recorded[0]

    @property
    def left_out(self) -> dict[str, str]:
        return self._recorded[1]

    @cached_property
    def stacks(self) -> list[Stack]:
        if not self.sites:
            left_out = [f"{path}: {reason}" for path, reason in self.left_out.items()]
            why = (left_out or ["no softmax is taken of a product of queries and keys"])[0]
            raise EigenhouseError(
                f"want attention that can be looked into, but {type(self.loaded.model).__name__} shows none ({why})"
            )
        stacks = find_stacks(self.loaded.model, self.sites)
        stacks[0].skipped |= self.left_out | unreached(self.loaded.model, stacks, self.sites)
        return stacks

    def _record(self, n_positions: int) -> tuple[list[Site], dict[str, str]]:
        try:
            return capture.record_sites(self.loaded.model, self.loaded.body, probe_inputs(self.loaded, n_positions))
        except EigenhouseError:
            raise
        except Exception as error:
            raise EigenhouseError(
                f"want {type(self.loaded.model).__name__} to run {n_positions} token(s), but it raised "
                f"{type(error).__name__}: {first_line(error)}; does it take more than text?"
            ) from error


def probe_inputs(loaded: LoadedModel, n_positions: int) -> dict[str, Any]:
    """Inputs of one sample for one forward pass of the body: tokens, an image or sound, as the model asks."""
    config, body = loaded.model.config, loaded.body
    device = next(body.parameters()).device
    wanted = getattr(body, "main_input_name", "input_ids")
    if wanted == "pixel_values":
        vision = getattr(config, "vision_config", config)
        size = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        return {"pixel_values": torch.zeros(1, getattr(vision, "num_channels", 3), size, size, device=device)}
    if wanted != "input_ids":
        raise EigenhouseError(f"want a model of text or images, got one that takes {wanted}, which can't be probed yet")
    ids = (torch.arange(n_positions, device=device)[None] + FIRST_TOKEN) % loaded.config.vocab_size
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    if hasattr(loaded.config, "use_cache"):
        inputs["use_cache"] = False
    return inputs
