"""What a module does to q and k beside its projections: scaling of the rotation, clipping, and its norms.

All of it is read by feeding chosen inputs to the running module. No architecture is named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from eigenhouse.ingest.capture.sites import Site
from eigenhouse.ingest.proof.factors import HeadFactors
from eigenhouse.ingest.proof.norms import read_input_norm, read_norm
from eigenhouse.ingest.proof.responses import GAIN, captured, identity_norms, latent_norms, norm_modules, respond


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
