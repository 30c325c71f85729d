"""Gain, offset and kind of the norms around attention, read by feeding vectors to the running norm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from eigenhouse.ingest.capture.sites import Site, Unreadable
from eigenhouse.ingest.proof.factors import HeadNorm
from eigenhouse.ingest.proof.responses import input_of


def read_norm(site: Site, module: nn.Module, n_heads: int) -> HeadNorm:
    """Gain, offset and kind of one norm, by feeding it vectors; a gain stored as g and applied as 1+g is read as 1+g.

    Raises Unreadable where neither an RMS norm nor a LayerNorm reproduces it on a fresh vector to 1e-4.
    """
    shown = input_of(site, module)
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
