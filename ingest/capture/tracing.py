"""Attention of models that bypass transformers' interface, seen as the product of which a softmax is taken.

Within `tracing` every torch call passes through `_Tracer`. It follows a product of two activations through scalings,
biases and masks; when a softmax takes it, the two sides of the product are the module's q and k.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from eigenhouse.ingest.capture.attention import AttentionCall, key_of_each_query_head
from eigenhouse.ingest.capture.masks import FORBIDDEN

PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm"}
TIMES = {"mul", "__mul__", "__rmul__", "__imul__", "mul_", "multiply"}
OVER = {"div", "__truediv__", "__itruediv__", "div_", "true_divide"}
NO_BIAS = 1e-5  # of the largest score: rounding alone gives less, without any bias
_is_paused = False


@contextmanager
def paused() -> Iterator[None]:
    """Within the block nothing is traced: our own kernel computes a softmax as well."""
    global _is_paused
    before, _is_paused = _is_paused, True
    try:
        yield
    finally:
        _is_paused = before


@contextmanager
def tracing(report: Callable[[AttentionCall], object], n_batch: int) -> Iterator[None]:
    """Within the block, report every attention of `n_batch` texts that is computed in plain torch."""
    tracer = _Tracer(report, n_batch)
    hooks = [
        register_module_forward_pre_hook(lambda module, _args: tracer.enter(module)),
        register_module_forward_hook(lambda *_: tracer.leave(), always_call=True),
    ]
    try:
        with tracer:
            yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class _Product:
    """scaling · query keyᵀ of a module: query (…, query, feature), key (…, key, feature)."""

    module: nn.Module
    query: torch.Tensor
    key: torch.Tensor
    scaling: float


class _Tracer(TorchFunctionMode):
    def __init__(self, report: Callable[[AttentionCall], object], n_batch: int) -> None:
        super().__init__()
        self.running: list[nn.Module] = []
        self._report, self._n_batch = report, n_batch
        self._thread = threading.get_ident()  # hooks are called in every thread, torch calls only in one's own
        self._followed: dict[int, tuple[torch.Tensor, _Product]] = {}  # by id of the tensor, which is kept with it

    def enter(self, module: nn.Module) -> None:
        if threading.get_ident() == self._thread:
            self.running.append(module)

    def leave(self) -> None:
        if threading.get_ident() != self._thread:
            return
        left = self.running.pop()
        self._followed = {i: kept for i, kept in self._followed.items() if kept[1].module is not left}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if _is_paused:
            return func(*args, **kwargs)
        given = (*args, *kwargs.values())
        product = next((self._followed[id(value)][1] for value in given if id(value) in self._followed), None)
        if name == "scaled_dot_product_attention":
            self._kernel(*args, **kwargs)
        result = func(*args, **kwargs)
        if name == "softmax":
            axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if product is not None and axis in (-1, result.dim() - 1):
                self._take(product, args[0] if args else kwargs["input"], result)
        elif name in PRODUCTS:
            self._start(name, result, args, kwargs)
        elif product is not None and isinstance(result, torch.Tensor):
            size = product.query.shape[:-1].numel() * product.key.shape[-2]
            if result.is_floating_point() and result.numel() == size:
                self._followed[id(result)] = (
                    result,
                    replace(product, scaling=product.scaling * _factor(name, given, self._followed)),
                )
        return result

    def _owner(self) -> nn.Module | None:
        """The innermost running module with parameters: a product may be taken in a child that has none."""
        return next((module for module in reversed(self.running) if any(True for _ in module.parameters())), None)

    def _start(self, name: str, result: torch.Tensor, args: tuple, kwargs: dict[str, Any]) -> None:
        """Follow a product of activations. In a product with weights, the second side has no axis of texts."""
        if name == "baddbmm":
            left, right = kwargs.get("batch1", *args[1:2]), kwargs.get("batch2", *args[2:3])
        else:
            left, right = (*args, *kwargs.values())[:2]
        owner = self._owner()
        if owner is None or left.dim() < 3 or right.dim() < 3 or isinstance(right, nn.Parameter):
            return
        scaling = float(kwargs.get("alpha", 1.0))
        self._followed[id(result)] = (result, _Product(owner, left, right.transpose(-1, -2), scaling))

    def _take(self, product: _Product, scores: torch.Tensor, weights: torch.Tensor) -> None:
        """Report the product of which a softmax is taken; the rest of the scores is the bias."""
        n_batch = len(product.query) if product.query.dim() > 3 else self._n_batch  # heads and texts may share one axis
        query, key, scores, weights = (
            side.detach().reshape(n_batch, -1, *side.shape[-2:])
            for side in (product.query, product.key, scores, weights)
        )
        if scores.shape != (*query.shape[:3], key.shape[2]) or query.shape[1] % key.shape[1]:
            return
        own = product.scaling * query @ key_of_each_query_head(key, query.shape[1]).transpose(-1, -2)
        beside = scores - own
        # a mask is added to scores, or stands in their place
        is_replaced = (scores <= FORBIDDEN) & (scores == scores.min())
        is_allowed = (beside > FORBIDDEN) & ~is_replaced
        bias = beside.masked_fill(~is_allowed, 0)
        largest = scores.masked_fill(~is_allowed, 0).abs().max()
        self._report(
            AttentionCall(
                product.module, query, key, None, is_allowed, product.scaling,
                position_bias=None if bias.abs().max() <= NO_BIAS * largest else bias, weights=weights,
            )
        )  # fmt: skip

    def _kernel(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        """Torch's own kernel, called past the interface."""
        owner = self._owner()
        if owner is None or query.dim() != 4:
            return
        if is_causal:
            attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
        mask = attn_mask if attn_mask is None or attn_mask.dim() == 4 else attn_mask[(None,) * (4 - attn_mask.dim())]
        scaling = query.shape[-1] ** -0.5 if scale is None else scale
        self._report(AttentionCall(owner, query.detach(), key.detach(), None, mask, scaling))


def _factor(name: str, operands: tuple, followed: Container[int]) -> float:
    """The factor that an operation applies to its tensor: the product of the numbers among its other operands."""
    if name not in TIMES | OVER:
        return 1.0
    numbers = [
        float(value)
        for value in operands
        if isinstance(value, int | float)
        or (isinstance(value, torch.Tensor) and value.numel() == 1 and id(value) not in followed)
    ]
    factor = math.prod(numbers)
    return 1 / factor if name in OVER else factor
