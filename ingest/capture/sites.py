"""The attention calls of a model: what each module was passed in one forward pass, and how to make the call again."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from eigenhouse.errors import first_line
from eigenhouse.ingest.capture.attention import AttentionCall
from eigenhouse.ingest.capture.kernel import listening

CACHES = {"past_key_values", "past_key_value", "layer_past", "cache"}
Recorded = tuple[AttentionCall, tuple[tuple, dict] | None]  # a call, and what its module was passed
KEY_POSITION, QUERY_POSITION = 3, 8  # of the pair that the gate compares; the last one, where a site has fewer


class Unreadable(Exception):
    """A module whose heads can't be measured; the message is the reason that goes to `skipped_modules`."""


class _Seen(Exception):
    """Ends a module's forward as soon as its kernel was called."""


@dataclass(frozen=True)
class Site:
    """One call of one attention module in a forward pass, which can be made again with other hidden states.

    path: the module's dotted name. args, kwargs: what the model passed when it ran `n_positions` tokens from
    position 0 on, so the rotary tables and masks are the model's own. input_norm: the path of the norm whose output the
    hidden states are; None if no norm made them. is_traced: the module bypasses the interface.
    """

    path: str
    module: nn.Module
    call: AttentionCall
    args: tuple
    kwargs: dict
    input_norm: str | None = None
    is_traced: bool = False

    @property
    def is_cross(self) -> bool:
        """Keys are made of another sequence than queries."""
        return self._key_argument() is not None

    @property
    def hidden_size(self) -> int:
        return self.hidden.shape[-1]

    @property
    def key_hidden_size(self) -> int:
        name = self._key_argument()
        return self.hidden_size if name is None else self.kwargs[name].shape[-1]

    @property
    def n_positions(self) -> int:
        shape = self.hidden.shape
        return shape[0] if len(shape) == 2 else shape[1:-1].numel()

    @property
    def n_key_positions(self) -> int:
        name = self._key_argument()
        return self.n_positions if name is None else self.kwargs[name].shape[1]

    def run(self, hidden: torch.Tensor, key_hidden: torch.Tensor | None = None) -> AttentionCall:
        """q and k of `hidden` (batch, position, hidden_size); keys from `key_hidden` where the site is a cross one."""
        try:
            return self._run(hidden, key_hidden)
        except Unreadable:
            if len(hidden) == 1:
                raise
        # ALiBi's tables, for example, fit only the batch that they were made for
        keys = [None] * len(hidden) if key_hidden is None else key_hidden.split(1)
        calls = [self._run(row, key_row) for row, key_row in zip(hidden.split(1), keys, strict=True)]
        query, key = (torch.cat([getattr(call, side) for call in calls]) for side in ("query", "key"))
        return replace(calls[0], query=query, key=key, mask=None, position_bias=None, weights=None)

    def _run(self, hidden: torch.Tensor, key_hidden: torch.Tensor | None) -> AttentionCall:
        seen: list[AttentionCall] = []

        def see(call: AttentionCall) -> None:
            seen.append(call)
            if not self.is_traced:
                raise _Seen  # what the module makes of q and k is of no use here

        recorded, fed = self.hidden, self._as_taken(hidden)

        def given(value: Any) -> Any:
            # some layers pass keys on in a dict; a call that is made again must not change the recorded dict
            return fed if value is recorded else dict(value) if type(value) is dict else value

        args, kwargs = tuple(map(given, self.args)), {name: given(value) for name, value in self.kwargs.items()}
        name = self._key_argument()
        if name is not None:
            kwargs[name] = hidden if key_hidden is None else key_hidden
        output = None
        try:
            with torch.no_grad(), listening(see, len(hidden) if self.is_traced else 0):
                output = self.module(*args, **kwargs)
        except _Seen:
            pass
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            said = first_line(error)
            if "allocate memory" in said:  # the machine's memory is at fault, not the module
                raise
            raise Unreadable(f"it can't be run alone: {type(error).__name__}: {said}") from error
        if len(seen) != 1:
            raise Unreadable(f"it makes {len(seen)} attention calls when it is run alone")
        n_batch, (query, key) = len(hidden), (seen[0].query, seen[0].key)
        if not len(query) == len(key) == n_batch:
            raise Unreadable("its keys or queries are not made of its own hidden states (those of another layer?)")
        n_keys = hidden.shape[1] if key_hidden is None else key_hidden.shape[1]
        if (query.shape[2], key.shape[2]) != (hidden.shape[1], n_keys):
            shown = f"{query.shape[2]} queries and {key.shape[2]} keys of {hidden.shape[1]} positions"
            raise Unreadable(f"it makes {shown}, so none belongs to one position")
        returned = _returned_weights(output, seen[0]) if self.is_traced else None
        return seen[0] if returned is None else replace(seen[0], weights=returned)

    @property
    def hidden(self) -> torch.Tensor:
        """What the model passed: (batch, position, feature), (position, feature) or (batch, row, column, feature)."""
        return self.args[0] if self.args and isinstance(self.args[0], torch.Tensor) else self.kwargs["hidden_states"]

    def _as_taken(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden (batch, position, feature) with the axes that the module takes."""
        recorded = self.hidden
        if recorded.dim() == 2 and len(hidden) > 1:
            raise Unreadable("it takes no batch")
        if recorded.dim() == 2:
            return hidden[0]
        return hidden.reshape(len(hidden), *recorded.shape[1:-1], -1) if recorded.dim() == 4 else hidden

    def _key_argument(self) -> str | None:
        for name in ("key_value_states", "encoder_hidden_states"):
            if isinstance(self.kwargs.get(name), torch.Tensor):
                return name
        return None


def record_sites(
    model: nn.Module, body: nn.Module, inputs: dict[str, torch.Tensor]
) -> tuple[list[Site], dict[str, str]]:
    """Every attention call of one forward pass, in the order of the calls, and why others had to be left out.

    body: the part of the model that runs (without its output head); paths start at the whole model. It runs twice: the
    first run shows which modules call the interface, the second has hooks on those modules that keep their arguments.
    The second value is module path → reason for the modules whose call can't be made again: they take no hidden states
    that end in (position, feature), or make several calls at once.
    """
    paths = {module: path for path, module in model.named_modules()}
    callers: dict[nn.Module, bool] = {}  # whether it bypasses the interface
    with torch.no_grad(), listening(lambda call: callers.setdefault(call.module, call.value is None), traced_batch=1):
        body(**inputs)
    traced_batch = 1 if any(callers.values()) else 0

    calls, normed = _watched(body, inputs, paths, callers, traced_batch)
    sites, left_out = [], {}
    per_forward = Counter(id(called_with) for _, called_with in calls)
    for call, called_with in calls:
        path = paths[call.module]
        try:
            if per_forward[id(called_with)] > 1:
                raise Unreadable("it makes several attention calls in one forward, so no head has one q and k")
            site = _site(path, call, called_with)
            norm, _ = normed.get(id(site.hidden), (None, None))
            sites.append(replace(_of_one_window(site), input_norm=norm))
        except Unreadable as reason:
            left_out[path] = str(reason)
    return sites, left_out


def _watched(
    body: nn.Module,
    inputs: dict[str, torch.Tensor],
    paths: dict[nn.Module, str],
    callers: Iterable[nn.Module],
    traced_batch: int,
) -> tuple[list[Recorded], dict[int, tuple[str, Any]]]:
    """One forward pass: its attention calls, and id of a norm's output → the norm's path, and the output itself."""
    arguments: dict[nn.Module, tuple[tuple, dict]] = {}
    calls: list[Recorded] = []
    normed: dict[int, tuple[str, Any]] = {}  # the output is kept so that its id stays its own

    def keep_arguments(module: nn.Module, args: tuple, kwargs: dict) -> None:
        arguments[module] = (args, kwargs)

    def keep_output(module: nn.Module, _args: tuple, output: Any) -> None:
        normed[id(output)] = (paths[module], output)

    hooks = [module.register_forward_pre_hook(keep_arguments, with_kwargs=True) for module in callers]
    hooks += [module.register_forward_hook(keep_output) for module in paths if _has_one_vector(module)]
    try:
        with torch.no_grad(), listening(lambda call: calls.append((call, arguments.get(call.module))), traced_batch):
            body(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, normed


def _site(path: str, call: AttentionCall, called_with: tuple[tuple, dict] | None) -> Site:
    """The site of a call; Unreadable where its module can't be called again with other hidden states."""
    if called_with is None or not _takes_hidden_states(*called_with):
        raise Unreadable("its forward takes no (batch, position, feature) hidden states, so it can't be probed")
    args, kwargs = called_with
    # a cache would grow with every call that is made again
    kwargs = kwargs | dict.fromkeys(CACHES & kwargs.keys())
    is_traced = call.value is None
    if is_traced:
        args, kwargs = _asking_for_weights(call.module, args, kwargs)
    return Site(path, call.module, call, args, kwargs, is_traced=is_traced)


def _of_one_window(site: Site) -> Site:
    """The site with one window of an image: the trace puts heads and windows on one axis."""
    if not site.is_traced or site.is_cross or len(site.hidden) == len(site.call.query):
        return site
    return replace(site, call=site.run(site.hidden.reshape(-1, site.n_positions, site.hidden_size)[:1]))


def _asking_for_weights(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    names = list(inspect.signature(module.forward).parameters)
    if "output_attentions" not in names:
        return args, kwargs
    at = names.index("output_attentions")
    return ((*args[:at], True, *args[at + 1 :]), kwargs) if at < len(args) else (args, kwargs | {names[at]: True})


def _returned_weights(output: Any, call: AttentionCall) -> torch.Tensor | None:
    """The weights among what a module returned: (batch, head, query, key), or batch and head as one axis."""
    wanted = (*call.query.shape[:3], call.key.shape[2])
    for value in output if isinstance(output, tuple) else ():
        if isinstance(value, torch.Tensor) and value.shape[-2:] == wanted[-2:] and value.numel() == math.prod(wanted):
            return value.reshape(wanted)
    return None


def _has_one_vector(module: nn.Module) -> bool:
    """Whether a module's parameters are those of a norm: a weight of one axis, and at most a bias beside it."""
    own = dict(module.named_parameters())
    return own.keys() <= {"weight", "bias"} and own.get("weight") is not None and own["weight"].dim() == 1


def _takes_hidden_states(args: tuple, kwargs: dict) -> bool:
    hidden = args[0] if args else kwargs.get("hidden_states")
    return isinstance(hidden, torch.Tensor) and 2 <= hidden.dim() <= 4
