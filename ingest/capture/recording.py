"""A model recorded: each of its parts run once on made-up inputs, the attention calls that this makes kept as sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from eigenhouse.errors import first_line
from eigenhouse.ingest.capture.made_up_inputs import TEXT_INPUTS, likely_inputs, main_input, takes_text
from eigenhouse.ingest.capture.sites import Site, Unreadable, record_sites
from eigenhouse.ingest.models.loading import NoProducts

Ran = TypeVar("Ran")


@dataclass
class Recording:
    """Sites of all parts in the order they ran, and for modules without a site why not.

    tried: part → why it can't be run, '' if it ran. reader: the first part that ran on text. beside: the inputs of that
    part beside text, such as sound or an image.
    """

    sites: list[Site] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    tried: dict[str, str] = field(default_factory=dict)
    reader: nn.Module | None = None
    beside: dict[str, Any] = field(default_factory=dict)

    def why_not(self, path: str) -> str:
        """Why the closest part around a module couldn't be run; '' where it ran."""
        around = [part for part in self.tried if not part or f"{path}.".startswith(f"{part}.")]
        return self.tried[max(around, key=len)] if around else ""


def record(model: nn.Module, body: nn.Module, n_positions: int) -> Recording:
    """Run the body, then each of the outermost models within it that this didn't reach, such as a vision tower.

    Sites have n_positions if the part can be run so short, else more. `tried` says what can't be run.
    """
    paths = {module: path for path, module in model.named_modules()}
    recording = Recording()

    def run(part: nn.Module) -> None:
        path, sites, left_out, given = paths[part], list[Site](), dict[str, str](), dict[str, Any]()
        recording.tried[path] = ""
        try:
            (sites, left_out), given = _first_that_runs(
                part, n_positions, lambda inputs: (record_sites(model, part, inputs), inputs)
            )
        except Unreadable as reason:
            recording.tried[path] = str(reason)
        recording.sites += [shortened(site, n_positions) for site in sites]
        recording.left_out |= left_out
        if sites and recording.reader is None and takes_text(part):
            recording.reader = part
            if main_input(part) != "input_ids":
                recording.beside = {name: value for name, value in given.items() if name not in TEXT_INPUTS}
        seen = [site.path for site in sites] + list(left_out)
        for tower in towers(part):
            if not any(path.startswith(f"{paths[tower]}.") for path in seen):
                run(tower)

    with NoProducts():
        run(body)
    if not recording.sites:
        recording.left_out |= {path or "model": reason for path, reason in recording.tried.items() if reason}
    return recording


def towers(part: nn.Module) -> Iterator[nn.Module]:
    """The outermost models within a part."""
    for child in part.children():
        if isinstance(child, PreTrainedModel):
            yield child
        else:
            yield from towers(child)


def shortened(site: Site, n_positions: int) -> Site:
    """The site over fewer positions, such as those of a whole image; as it is where its module can't be run so.

    Arguments beside hidden states (rotary tables) are cut on the axis that has the site's length. If one still has
    another length (a mask), the module fails, and the site is returned as it is.
    """
    n_whole = site.n_positions
    if n_whole <= n_positions:
        return site

    def cut(value: Any) -> Any:
        if type(value) is tuple:  # rotary tables
            return tuple(map(cut, value))
        if not isinstance(value, torch.Tensor):
            return value
        if value.dim() == 4 and value is site.hidden:
            return value.new_zeros(1, 1, n_positions, value.shape[-1])  # part of a row
        if value.dim() == 1 and len(value) < n_whole and value.dtype in (torch.int32, torch.int64):
            return value.clamp(max=n_positions)  # where each image of several begins and ends
        axis = 1 if value.dim() == 3 else next((i for i, size in enumerate(value.shape) if size == n_whole), None)
        return value if axis is None else value.narrow(axis, 0, min(n_positions, value.shape[axis]))

    kwargs = {name: cut(value) for name, value in site.kwargs.items()}
    short = replace(site, args=tuple(map(cut, site.args)), kwargs=kwargs)
    sizes = [site.hidden_size, site.key_hidden_size] if site.is_cross else [site.hidden_size]
    parameter = next(site.module.parameters())
    hidden = [torch.ones(1, n_positions, size, device=parameter.device, dtype=parameter.dtype) for size in sizes]
    try:
        call = short.run(*hidden)
    except Exception:
        return site
    return replace(short, call=call) if call.query.shape[2] == n_positions else site


def _first_that_runs(part: nn.Module, n_positions: int, run: Callable[[dict[str, Any]], Ran]) -> Ran:
    """What `run` returns for the first inputs that don't fail. Raises Unreadable with the last error if all fail."""
    failed = Exception()
    for inputs in likely_inputs(part, n_positions):
        try:
            return run(inputs)
        except Exception as error:
            failed = error
    raise Unreadable(f"{type(part).__name__} raised {type(failed).__name__}: {first_line(failed)}") from failed
