"""A module's q and k for chosen hidden states, with its norms and clamps or with identities in their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from eigenhouse.ingest.capture.sites import Site, Unreadable

GAIN = 64.0  # inputs of linear readings are this much larger, so that W x isn't lost beside a bias many times its size
_LATENT_NORM_NAME = re.compile(r"^(q|kv)_a_(layer)?norm$")
_NORM_NAME = re.compile(r"^(q|k|kv|query|key|qk)_?(b_)?(layer_?)?(norm|ln)")
_SIDES = {"q": "q", "query": "q", "k": "k", "kv": "k", "key": "k", "qk": "qk"}


def captured(site: Site, hidden: np.ndarray, key_hidden: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """q (batch, head, position, feature) and k (batch, kv head, …) float64 of hidden (batch, position, hidden).

    Raises Unreadable where they aren't finite.
    """
    reference = site.call.query

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(reference.device, reference.dtype)

    call = site.run(tensor(hidden), None if key_hidden is None else tensor(key_hidden))
    if not (bool(call.query.isfinite().all()) and bool(call.key.isfinite().all())):
        raise Unreadable("it answers chosen hidden states with numbers that aren't finite")
    return call.query.cpu().double().numpy(), call.key.cpu().double().numpy()


def respond(site: Site, rows: np.ndarray, key_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`captured` for rows (batch, hidden), each put at all positions of the site.

    key_rows: the hidden states of keys; they count only if the site is a cross one.
    """
    hidden, key_hidden = (
        np.tile(side[:, None], (1, n, 1)) for side, n in ((rows, site.n_positions), (key_rows, site.n_key_positions))
    )
    return captured(site, hidden, key_hidden if site.is_cross else None)


def norm_modules(site: Site) -> dict[str, nn.Module]:
    """The q- and k-norms among the module's children: side ('q', 'k') → norm; one norm may serve both."""
    n_features = site.call.query.shape[-1]
    norms: dict[str, nn.Module] = {}
    for name, child in site.module.named_children():
        match = None if isinstance(child, nn.Identity) else _NORM_NAME.match(name)
        if match and (shown := input_of(site, child)) is not None and shown.shape[-1] % n_features == 0:
            norms.update(dict.fromkeys(_SIDES[match.group(1)], child))
    return norms


def latent_norms(site: Site) -> dict[str, nn.Module]:
    """The norms between two projections of one side ('q', 'k'), as latent attention has them."""
    matches = ((_LATENT_NORM_NAME.match(name), child) for name, child in site.module.named_children())
    return {_SIDES[match[1]]: child for match, child in matches if match}


class _Unclipped(TorchFunctionMode):
    """Makes clamping the identity, except on whole numbers, which are positions."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        clips = getattr(func, "__name__", "") in ("clamp", "clamp_", "clip", "clip_")
        return args[0] if clips and args[0].is_floating_point() else func(*args, **kwargs or {})


@contextmanager
def identity_norms(site: Site) -> Iterator[None]:
    """Within the block q-, k- and latent norms and clamps are identities, so that the module is affine in its input."""
    norms = dict.fromkeys((*norm_modules(site).values(), *latent_norms(site).values()))
    hooks = [module.register_forward_hook(lambda _module, args, _out: args[0]) for module in norms]
    try:
        with _Unclipped():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def input_of(site: Site, module: nn.Module) -> torch.Tensor | None:
    """The input of a child of the attention module in a call; None if the child isn't called."""
    seen: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    reference = site.call.query
    try:
        hidden = torch.ones(1, site.n_positions, site.hidden_size, device=reference.device, dtype=reference.dtype)
        keys = hidden.new_ones(1, site.n_key_positions, site.key_hidden_size)
        site.run(hidden, keys)
    finally:
        hook.remove()
    return seen[0] if seen else None
