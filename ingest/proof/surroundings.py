"""What a module does between its projections and the captured q and k: norms, scaling of the rotation, clipping.

All of it is read by feeding chosen inputs to the running module. No architecture is named here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from eigenhouse.ingest.capture.sites import Site, Unreadable
from eigenhouse.ingest.proof.factors import HeadFactors, HeadNorm
from torch import nn
from torch.overrides import TorchFunctionMode

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
        if match and (shown := _input_of(site, child)) is not None and shown.shape[-1] % n_features == 0:
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


def read_norm(site: Site, module: nn.Module, n_heads: int) -> HeadNorm:
    """Gain, offset and kind of one norm, by feeding it vectors; a gain stored as g and applied as 1+g is read as 1+g.

    Raises Unreadable where neither an RMS norm nor a LayerNorm reproduces it on a fresh vector to 1e-4.
    """
    shown = _input_of(site, module)
    assert shown is not None, "norm_modules gives only norms that are called"
    generator = torch.Generator().manual_seed(11)
    n_features = site.call.query.shape[-1]

    def vector() -> torch.Tensor:
        rows = torch.randn(shown.shape[-1], generator=generator)
        return (rows + rows.sign()).to(shown)  # no entry near 0: it is divided by

    def respond(row: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            out = module(row.expand(shown.shape).contiguous())
        return _by_head(out, site.n_positions, n_heads, n_features)

    fed = [1024 * vector() for _ in range(2)]  # large, so that the norm's eps plays no part
    spans_heads = shown.shape[-1] != n_features
    v, w = ((_by_head(row.expand(shown.shape), site.n_positions, n_heads, n_features), row) for row in fed)
    return _fitted_norm(module, respond, v, w, spans_heads)


def read_input_norm(module: nn.Module, like: torch.Tensor) -> HeadNorm:
    """`read_norm` for a norm over the last axis of `like` (position, feature): gain and offset are (1, feature)."""
    draw = np.random.default_rng(13).standard_normal((2, 1, like.shape[-1]))
    rows = 1024 * (draw + np.sign(draw))

    def respond(row: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return module(row[None]).double().cpu().numpy()[0]

    v, w = ((row, torch.from_numpy(row).to(like.device, like.dtype)) for row in rows)
    return _fitted_norm(module, respond, v, w, spans_heads=False)


def _fitted_norm(
    module: nn.Module,
    respond: Callable[[torch.Tensor], np.ndarray],
    v: tuple[np.ndarray, torch.Tensor],
    w: tuple[np.ndarray, torch.Tensor],
    spans_heads: bool,
) -> HeadNorm:
    """The norm that answers v and −v as the module does, checked on w; v and w as (head, feature) and as fed."""
    answer, mirrored = respond(v[1]), respond(-v[1])
    gain_times_unit, offset = (answer - mirrored) / 2, (answer + mirrored) / 2
    ones = np.ones_like(v[0])
    for is_centred in (False, True):
        bare = HeadNorm(ones, 0 * ones, 0.0, is_centred, spans_heads)
        norm = HeadNorm(gain_times_unit / bare(v[0]), offset, _eps(module), is_centred, spans_heads)
        wanted = respond(w[1])
        if np.allclose(norm(w[0]), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max()):
            return norm
    raise Unreadable(f"its {type(module).__name__} is neither an RMS norm nor a LayerNorm")


def read_rope_scale(site: Site) -> np.ndarray | None:
    """Attention scaling of the rotary tables, (feature,) on the dimensions they rotate; None where it is 1.

    The model passes the tables, or a child of the module makes them. If their modulus is divided out, the captured q
    shrinks by exactly the scaling on rotated dimensions and stays the same on others: so partial RoPE is recognised.
    """
    bare, scale = _without_modulus(site)
    if bare is not None and abs(scale - 1) < 1e-6:
        return None
    hidden = np.random.default_rng(5).standard_normal((8, site.n_positions, site.hidden_size))
    keys = np.random.default_rng(5).standard_normal((8, site.n_key_positions, site.key_hidden_size))
    key_hidden = keys if site.is_cross else None
    with identity_norms(site):
        with _unit_tables(site) as moduli:
            plain_q = captured(bare or site, hidden, key_hidden)[0][:, :, 0]
        scale = scale if bare is not None else next((modulus for modulus in moduli if abs(modulus - 1) > 1e-6), 1.0)
        if abs(scale - 1) < 1e-6:
            return None
        scaled_q = captured(site, hidden, key_hidden)[0][:, :, 0]
    power = [np.square(q).sum(axis=(0, 1)) for q in (scaled_q, plain_q)]
    ratio = np.sqrt(power[0] / np.where(power[1] > 0, power[1], 1))
    return np.where(np.abs(ratio - scale) < np.abs(ratio - 1), scale, 1.0)


def read_clip(site: Site) -> float | None:
    """The bound of a module on the entries of q and k: the value that many of them have for large hidden states."""
    rows, key_rows = (
        GAIN**2 * np.random.default_rng(19).standard_normal((4, size))
        for size in (site.hidden_size, site.key_hidden_size)
    )
    sizes = np.abs(respond(site, rows, key_rows)[0][:, :, 0])
    return float(sizes.max()) if sizes.any() and (sizes == sizes.max()).mean() > 0.1 else None


def with_surroundings(factors: HeadFactors, site: Site, rope_scale: np.ndarray | None) -> HeadFactors:
    """Factors with the norms and rotary scaling of the module that they were cut from."""
    norms = norm_modules(site)
    n_heads, n_kv_heads = len(factors.w_q), len(factors.w_k)
    latents = {}
    for side, module in latent_norms(site).items():
        if latent := getattr(factors, f"latent_{side}"):
            like = site.call.query.new_zeros(1, len(latent.down))
            latents[f"latent_{side}"] = replace(latent, norm=read_input_norm(module, like))
    return replace(
        factors,
        norm_q=read_norm(site, norms["q"], n_heads) if "q" in norms else None,
        norm_k=read_norm(site, norms["k"], n_kv_heads) if "k" in norms else None,
        rope_scale=rope_scale,
        clip=read_clip(site),
        **latents,
    )


def _without_modulus(site: Site) -> tuple[Site | None, float]:
    """The site with rotary tables of modulus 1, and the modulus they had at position 0."""
    for key, value in [*enumerate(site.args), *site.kwargs.items()]:
        scale, bare = _split_tables(value)
        if bare is not None:
            args = tuple(bare if key == i else arg for i, arg in enumerate(site.args))
            kwargs = {name: bare if key == name else arg for name, arg in site.kwargs.items()}
            return replace(site, args=args, kwargs=kwargs), scale
    return None, 1.0


@contextmanager
def _unit_tables(site: Site) -> Iterator[list[float]]:
    """Within the block rotary tables that children of the module make have modulus 1; the list takes the moduli."""
    moduli: list[float] = []

    def without_modulus(_module: nn.Module, _args: tuple, out: Any) -> Any:
        scale, bare = _split_tables(out)
        if bare is None or not _are_constant(bare):
            return None
        moduli.append(scale)
        return bare

    children = [child for child in site.module.modules() if child is not site.module]
    hooks = [child.register_forward_hook(without_modulus) for child in children]
    try:
        yield moduli
    finally:
        for hook in hooks:
            hook.remove()


def _are_constant(tables: Any) -> bool:
    """Whether the modulus is 1 everywhere, as for rotations: two tensors of one shape might be anything else."""
    modulus = torch.hypot(*tables) if isinstance(tables, tuple) else tables.abs()
    return torch.allclose(modulus, torch.ones_like(modulus), atol=1e-3)


def _split_tables(value: Any) -> tuple[float, Any]:
    if isinstance(value, torch.Tensor) and value.is_complex():
        scale = float(value.abs().flatten()[0])
        return scale, value / scale
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(table, torch.Tensor) for table in value)
    if is_pair and value[0].is_floating_point() and value[0].shape == value[1].shape:
        scale = float(torch.hypot(value[0], value[1]).flatten()[0])
        return scale, tuple(table / scale for table in value)
    return 1.0, None


def _input_of(site: Site, module: nn.Module) -> torch.Tensor | None:
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


def _by_head(rows: torch.Tensor, n_positions: int, n_heads: int, n_features: int) -> np.ndarray:
    """A norm's tensor at position 0 as (head, feature), whichever of the usual orders it comes in.

    n_positions differs from every head count, so that the two axes can be told apart. A norm that was seen with
    another number of heads (one norm for q and k) treats all heads alike, and one row of it stands for each.
    """
    rows = rows.double().cpu()
    if rows.shape[:-2] == (n_positions,) and rows.shape[-1] == n_features:
        rows = rows[None]
    if rows.dim() == 4:
        rows = rows[0, 0] if rows.shape[1] == n_positions else rows[0, :, 0]
    else:
        rows = rows.reshape(-1, rows.shape[-1])[0].reshape(-1, n_features)
    return (rows if len(rows) == n_heads else rows[:1].expand(n_heads, -1)).numpy()


def _eps(module: nn.Module) -> float:
    for part in module.modules():
        for name in ("eps", "variance_epsilon"):
            if isinstance(getattr(part, name, None), float):
                return getattr(part, name)
    return 0.0
