"""W_Q and W_K of a module whose layout is unknown, read by feeding it the basis vectors of its hidden states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from eigenhouse.ingest.capture.sites import Site, Unreadable
from eigenhouse.ingest.proof.factors import HeadFactors, Latent
from eigenhouse.ingest.proof.responses import GAIN, identity_norms, latent_norms, respond

LINEARITY = 1e-3
SAME = 1e-4  # of a ratio: the same for all rows
CHUNK = 512
N_ROWS = 6
PROJECTIONS = (nn.Linear, Conv1D)


def read_factors(
    site: Site, rope_scale: np.ndarray | None, further_scales: tuple[float, float] = (1.0, 1.0)
) -> HeadFactors:
    """W_Q and W_K: at position 0, q and k of basis vector e_i are their columns i times the module's scales.

    site: recorded at one position, if the model takes one. If a side has a norm between two maps, both maps are read
    too. Raises Unreadable unless q and k are linear after the response to 0 is subtracted.
    """
    sizes = (site.hidden_size, site.key_hidden_size)
    rope = 1.0 if rope_scale is None else rope_scale
    scales = (further_scales[0] * rope, further_scales[1] * rope)
    with identity_norms(site):
        zero = [side[0, :, 0] for side in respond(site, np.zeros((1, sizes[0])), np.zeros((1, sizes[1])))]
        _check_linear(site, zero)
        columns: list[list[np.ndarray]] = [[], []]
        for start, n in _chunks(site, max(sizes)):
            bases = [GAIN * _basis(size, start, n) for size in sizes]
            for side, response in enumerate(respond(site, *bases)):
                columns[side].append((response[:, :, 0] - zero[side]) / GAIN)
        norms = latent_norms(site)
        latent_q, latent_k = (
            _read_latent(site, norms[name], side, scales[side]) if name in norms else None
            for side, name in enumerate("qk")
        )
    w_q, w_k = (
        np.moveaxis(np.concatenate(columns[side])[: sizes[side]] / scales[side], 0, -1).astype(np.float32)
        for side in (0, 1)
    )
    b_q, b_k = ((zero[side] / scales[side]).astype(np.float32) for side in (0, 1))
    return HeadFactors(
        w_q, w_k, b_q, b_k, "read by basis vectors", latent_q=latent_q, latent_k=latent_k,
        n_position=_n_beside(latent_k) if latent_k else 0,
    )  # fmt: skip


def _read_latent(site: Site, norm: nn.Module, side: int, scale: np.ndarray | float) -> Latent:
    """The maps before and behind a norm: what enters it for basis vectors, and the answer when they leave it.

    To be called within `identity_norms`.
    """
    entered: list[np.ndarray] = []
    leaving: torch.Tensor | None = None
    turns = count()

    def stand_in(_norm: nn.Module, args: tuple, out: torch.Tensor) -> torch.Tensor | None:
        entered.append(_at_first(args[0]))
        if leaving is None:
            return None
        # a module that takes no batch is run row by row
        rows = leaving if len(leaving) == len(out) else leaving[next(turns)][None]
        return rows.to(out).reshape(len(rows), *(1,) * (out.dim() - 2), -1).expand(out.shape)

    sizes = (site.hidden_size, site.key_hidden_size)

    def answer(start: int, n: int) -> np.ndarray:
        """The answer to n basis vectors of the hidden states; past their end they are zeros."""
        entered.clear()
        return respond(site, *(GAIN * _basis(size, start, n) for size in sizes))[side][:, :, 0]

    hook = norm.register_forward_hook(stand_in)
    try:
        answer(max(sizes), 1)
        offset, down = entered[-1][0], []
        for start, n in _chunks(site, sizes[side]):
            answer(start, n)
            down.append((np.concatenate(entered)[-n:] - offset) / GAIN)
        leaving = torch.zeros(1, len(offset))
        silent, up = answer(max(sizes), 1), []
        for start, n in _chunks(site, len(offset)):
            leaving, turns = torch.from_numpy(_basis(len(offset), start, n)), count()
            up.append((answer(max(sizes), n) - silent) / scale)
    finally:
        hook.remove()
    return Latent(np.concatenate(down).T, offset, np.moveaxis(np.concatenate(up), 0, -1))


def _at_first(out: torch.Tensor) -> np.ndarray:
    """(batch, feature) at position 0, of (batch, …, position, feature) or of (position, feature); no rows otherwise."""
    if out.dim() < 2 or not out.numel():
        return np.zeros((0, 1))
    rows = out[:1] if out.dim() == 2 else out.reshape(len(out), -1, out.shape[-1])[:, 0]
    return rows.double().cpu().numpy()


def _n_beside(latent: Latent) -> int:
    """How many features at the end don't come from the latent: latent attention has them for positions alone."""
    through = np.flatnonzero(np.abs(latent.up).max(axis=(0, 2)))
    return latent.up.shape[1] - 1 - int(through.max(initial=-1))


def further_scales(site: Site, rope_scale: np.ndarray | None) -> tuple[float, float]:
    """The factors that the module applies to q and k behind their projections; 1 if no child makes that side alone.

    The ratio of the largest feature of q to that of a child's output is the same for every row only if q is that output
    times this ratio, in any order of features.
    """
    made: dict[nn.Module, list[np.ndarray]] = defaultdict(list)

    def keep(child: nn.Module, _args: tuple, out: Any) -> None:
        made[child].append(_at_first(out))

    generator = np.random.default_rng(29)
    rows = [GAIN * generator.standard_normal((N_ROWS, size)) for size in (site.hidden_size, site.key_hidden_size)]
    hooks = [child.register_forward_hook(keep) for child in site.module.modules() if isinstance(child, PROJECTIONS)]
    try:
        with identity_norms(site):
            answers = [
                side[1:] - side[:1] for side in respond(site, *(np.concatenate([0 * side[:1], side]) for side in rows))
            ]
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [np.concatenate([part for part in parts if len(part)] or [np.zeros((0, 1))]) for parts in made.values()]
    outputs = [output[-N_ROWS:] - output[-N_ROWS - 1] for output in outputs if len(output) > N_ROWS]
    rope = 1.0 if rope_scale is None else rope_scale
    q_scale, k_scale = (_constant_ratio(answer[:, :, 0] / rope, outputs) for answer in answers)
    return q_scale, k_scale


def _constant_ratio(answer: np.ndarray, outputs: list[np.ndarray]) -> float:
    """Of the largest entries of answer (row, head, feature) and the first of outputs (row, feature) that has one."""
    largest = np.abs(answer).max(axis=(1, 2))
    for output in outputs:
        size = np.abs(output).max(axis=1)
        if size.all() and largest.all() and np.ptp(ratios := largest / size) < SAME * ratios.mean():
            return float(ratios.mean())
    return 1.0


def _check_linear(site: Site, zero: list[np.ndarray]) -> None:
    """f(2x - y) = 2 f(x) - f(y): scaling alone would let |x| pass."""
    generator = np.random.default_rng(7)
    x, y = (
        [GAIN * generator.standard_normal((5, size)) for size in (site.hidden_size, site.key_hidden_size)] for _ in "xy"
    )
    f_x, f_y, f_both = (respond(site, *rows) for rows in (x, y, [2 * a - b for a, b in zip(x, y, strict=True)]))
    for side, name in enumerate("qk"):
        at_x, at_y, at_both = (response[side][:, :, 0] - zero[side] for response in (f_x, f_y, f_both))
        want = 2 * at_x - at_y
        if not want.any():
            raise Unreadable(f"its {name} is the same whatever the hidden states (that of another layer?)")
        if np.abs(at_both - want).max() > LINEARITY * np.abs(want).max():
            raise Unreadable(f"its {name} is not linear in the hidden states: f(2x - y) is not 2 f(x) - f(y)")


def _chunks(site: Site, size: int) -> Iterator[tuple[int, int]]:
    """(start, count) of the basis vectors to run at a time."""
    step = max(1, CHUNK // site.n_positions)
    return ((start, min(step, size - start)) for start in range(0, size, step))


def _basis(size: int, start: int, count: int) -> np.ndarray:
    """Rows start … start+count of the identity; rows past its end are zero."""
    return np.eye(count, size, k=start)
