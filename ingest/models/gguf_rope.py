"""The rotation that a GGUF sets: put into the config and the built model, and checked against a closed form.

llama.cpp's rotation of pair i of n/2 has the frequency base^(-2i/n) / factor_i, which position interpolation and YaRN
stretch further. The closed form below follows from the file alone, so a table that transformers built otherwise is
refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import nn

from eigenhouse.ingest.models.gguf_facts import Facts, read_facts, stored_data
from eigenhouse.ingest.models.gguf_rules import NO_ROTARY

RELATIVE_ERROR = 1e-5  # transformers computes its frequencies in float32
SCALING_TYPES = ("none", "linear", "yarn", "longrope")
TWO_ROTATIONS = ("gemma3",)  # one for the layers with a window
UNTRUNCATED = ("gpt-oss",)  # its YaRN has a ramp between the real bounds, as published


@dataclass(frozen=True)
class Rope:
    """One rotation. factors: the divisor of every frequency for short texts; long_factors: for longer ones."""

    n_rotated: int
    base: float
    factor: float = 1.0
    kind: str = "default"
    attention_scaling: float = 1.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def frequencies(self, *, is_long: bool = False) -> np.ndarray:
        """(n_rotated / 2,) float64, in radians a position."""
        pair = np.arange(0, self.n_rotated, 2) / self.n_rotated
        plain = self.base**-pair
        if self.kind == "yarn":
            kept = self._kept(len(plain))
            plain = plain / self.factor * (1 - kept) + plain * kept
        else:
            plain = plain / self.factor
        factors = self.long_factors if is_long else self.factors
        return plain / np.asarray(factors) if factors else plain

    def _kept(self, n_pairs: int) -> np.ndarray:
        """The share of each frequency that YaRN leaves as it was: 1 for fast pairs, 0 for slow ones."""
        turns = np.array([self.beta_fast, self.beta_slow])
        bounds = self.n_rotated * np.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(self.base))
        low, high = (math.floor(bounds[0]), math.ceil(bounds[1])) if self.truncate else bounds
        low, high = max(low, 0), min(high, self.n_rotated - 1)
        return 1 - np.clip((np.arange(n_pairs) - low) / max(high - low, 1e-3), 0, 1)


def read_ropes(facts: Facts) -> dict[str, Rope]:
    """Each rotation of the model under the name of its layers' kind; "" where there is one for all."""
    factor, kind = _scaling(facts)
    rope = Rope(
        n_rotated=_n_rotated(facts),
        base=facts.get("rope.freq_base", facts.get("rope.global.freq_base", 10000.0)),
        factor=factor,
        kind=kind,
        attention_scaling=_attention_scaling(facts, factor, kind),
        original_context=original_context(facts),
        beta_fast=facts.get("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=facts.get("rope.scaling.yarn_beta_slow", 1.0),
        truncate=facts.architecture not in UNTRUNCATED,
        factors=_factors(facts, "rope_factors_short.weight" if kind == "longrope" else "rope_freqs.weight"),
        long_factors=_factors(facts, "rope_factors_long.weight") if kind == "longrope" else (),
    )
    local = facts.get("rope.freq_base_swa", facts.get("rope.local.freq_base"))
    if facts.architecture not in TWO_ROTATIONS:
        if local is not None and local != rope.base:
            raise facts.refusal(f"one base, {rope.base}", f"{local} for layers with a window", "the class has only one")
        return {"": rope}
    sliding = replace(rope, base=10000.0 if local is None else local, factor=1.0)
    return {"full_attention": rope, "sliding_attention": sliding}


def original_context(facts: Facts) -> int:
    return facts.count("rope.scaling.original_context_length", facts.count("context_length", 0))


def parameters(facts: Facts, read: dict[str, Any] | None) -> dict[str, Any]:
    """`rope_parameters` of a config, as transformers 5 has them; `read` is what transformers read from the file."""
    ropes = read_ropes(facts)
    kept = {name: value for name, value in (read or {}).items() if name.startswith("mrope")}
    sections = facts.get("rope.dimension_sections", [])
    sizes = [size for size in (sections if isinstance(sections, list) else [sections]) if size]
    if sizes and sizes != kept.get("mrope_section"):
        raise facts.refusal("one position a token", f"rope.dimension_sections {sizes}", "the class has no such axes")
    if "" not in ropes:
        return {kind: _parameters(facts, rope) for kind, rope in ropes.items()}
    return kept | _parameters(facts, ropes[""])


def put_right(model: nn.Module, path: Path) -> None:
    """Give the built model's rotary modules the file's own factors, and refuse tables that are not the file's.

    Raises EigenhouseError where a frequency differs by more than 1e-5 of itself, cos and sin are scaled otherwise, or
    the class has heads of another size than the file.
    """
    facts = read_facts(path)
    for module in model.modules() if facts.architecture != "mamba" else ():
        if (size := getattr(module, "head_dim", facts.head_dim)) != facts.head_dim:
            raise facts.refusal(
                f"heads of {facts.head_dim}", f"{size} of {type(module).__name__}", "no place for another"
            )
    if facts.architecture in NO_ROTARY:
        return
    ropes, seen = read_ropes(facts), 0
    for module in model.modules():
        for kind, rope in ropes.items():
            prefix = f"{kind}_" if kind else ""
            if not isinstance(getattr(module, f"{prefix}inv_freq", None), torch.Tensor):
                continue
            seen += 1
            _divide(module, prefix, rope)
            _compare(facts, module, prefix, rope)
    if not seen:
        raise facts.refusal("a rotary module", type(model).__name__, "transformers rotates it in a way unknown here")


def _divide(module: nn.Module, prefix: str, rope: Rope) -> None:
    """Divide the tables by the file's factors. In transformers only longrope takes factors, and it has two sets."""
    if rope.factors and rope.kind != "longrope":
        wanted = rope.frequencies()
        for name in (f"{prefix}inv_freq", f"{prefix}original_inv_freq"):
            table = getattr(module, name, None)
            if isinstance(table, torch.Tensor) and _is_near(table, replace(rope, factors=()).frequencies()):
                table.copy_(torch.from_numpy(wanted).to(table.dtype))
    if rope.kind in ("default", "linear") and rope.attention_scaling != 1:
        setattr(module, f"{prefix}attention_scaling", rope.attention_scaling)


def _compare(facts: Facts, module: nn.Module, prefix: str, rope: Rope) -> None:
    tables = [(f"{prefix}inv_freq", rope.frequencies()), (f"{prefix}original_inv_freq", rope.frequencies())]
    got = {name: getattr(module, name, None) for name, _ in tables}
    if rope.kind == "longrope":
        tables.append(("long", rope.frequencies(is_long=True)))
        got["long"] = _long_table(module, prefix, rope)
    for name, wanted in tables:
        if isinstance(table := got[name], torch.Tensor) and not _is_near(table, wanted):
            got_table = f"{name} of {type(module).__name__}, {_worst(table, wanted)}"
            raise facts.refusal(
                "the file's rotary frequencies", got_table, "a scaling that transformers has no type for?"
            )
    scaling = float(getattr(module, f"{prefix}attention_scaling", 1.0))
    if abs(scaling - rope.attention_scaling) > RELATIVE_ERROR * rope.attention_scaling:
        raise facts.refusal(f"cos and sin times {rope.attention_scaling:.6g}", scaling, "transformers scales otherwise")


def _long_table(module: nn.Module, prefix: str, rope: Rope) -> torch.Tensor:
    """The frequencies for texts beyond the original context, which the module makes when it first meets one."""
    options = {"layer_type": prefix.removesuffix("_")} if prefix else {}
    for position in (rope.original_context, 0):  # and back
        module(torch.zeros(1, 1, 1), torch.tensor([[position]]), **options)
    return getattr(module, f"{prefix}long_inv_freq")


def _is_near(table: torch.Tensor, wanted: np.ndarray) -> bool:
    got = table.double().cpu().numpy()
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=RELATIVE_ERROR, atol=0)


def _worst(table: torch.Tensor, wanted: np.ndarray) -> str:
    got = table.double().cpu().numpy()
    if got.shape != wanted.shape:
        return f"{len(got)} of them for {len(wanted)}"
    return f"off by {np.max(np.abs(got / wanted - 1)):.1e} of one"


def _parameters(facts: Facts, rope: Rope) -> dict[str, Any]:
    made: dict[str, Any] = {"rope_type": rope.kind, "rope_theta": rope.base}
    share = rope.n_rotated / facts.head_dim
    made["partial_rotary_factor"] = share if int(facts.head_dim * share) == rope.n_rotated else share + 1e-9
    if rope.kind == "linear":
        made["factor"] = rope.factor
        if rope.factor == 1:
            made["rope_type"] = "default"
            del made["factor"]
    if rope.kind in ("yarn", "longrope"):
        made |= {"factor": rope.factor, "attention_factor": rope.attention_scaling}
        made["original_max_position_embeddings"] = rope.original_context
    if rope.kind == "yarn":
        made |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow, "truncate": rope.truncate}
    if rope.kind == "longrope":
        made |= {"short_factor": list(rope.factors), "long_factor": list(rope.long_factors)}
    return made


def _scaling(facts: Facts) -> tuple[float, str]:
    """(factor, rope type of transformers'). Without a type it is linear; a factor of 0 is none."""
    named = facts.get("rope.scaling.type", "linear")
    if named not in SCALING_TYPES:
        raise facts.refusal(f"a rope.scaling.type of {', '.join(SCALING_TYPES)}", repr(named), "newer than Eigenhouse?")
    factor = facts.get("rope.scaling.factor", facts.get("rope.scale_linear", 0.0)) or 1.0
    extrapolates = facts.get("rope.scaling.yarn_ext_factor")
    if extrapolates is not None and extrapolates >= 0 and extrapolates != (named == "yarn"):
        raise facts.refusal("YaRN whole or none", f"yarn_ext_factor {extrapolates}", "transformers has no such mixture")
    has_long = "rope_factors_long.weight" in facts.header.tensors
    if has_long != ("rope_factors_short.weight" in facts.header.tensors) or (named == "longrope" and not has_long):
        raise facts.refusal("rope_factors_long and rope_factors_short", "not both", "a conversion that failed?")
    if has_long:
        return factor, "longrope"
    return (1.0, "default") if named == "none" else (factor, named if named == "yarn" else "linear")


def _attention_scaling(facts: Facts, factor: float, kind: str) -> float:
    """The factor on cos and sin."""
    stored = facts.get("rope.scaling.attn_factor", facts.get("rope.scaling.yarn_attn_factor", 1.0))
    if kind != "yarn":
        return float(stored)
    multiplier = facts.get("rope.scaling.yarn_log_multiplier", 0.0)
    own = _mscale(factor, 1.0) / (_mscale(factor, multiplier) if multiplier else 1.0)
    return float(stored * own)


def _mscale(factor: float, multiplier: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0


def _n_rotated(facts: Facts) -> int:
    n_rotated = facts.count("rope.dimension_count", facts.head_dim)
    other = facts.number("rope.dimension_count_swa", n_rotated)
    if not 0 < n_rotated <= facts.head_dim or other != n_rotated:
        raise facts.refusal(f"1 to {facts.head_dim} rotated dimensions", n_rotated, "differs between layers?")
    return n_rotated


def _factors(facts: Facts, name: str) -> tuple[float, ...]:
    """A table of factors, one a pair; empty where the file has none."""
    if name not in facts.header.tensors:
        return ()
    kind = gguf.GGMLQuantizationType(facts.header.tensors[name].type_number)
    factors = np.asarray(gguf.dequantize(stored_data(facts, name), kind), np.float64).ravel()
    n_pairs = -(-_n_rotated(facts) // 2)
    if len(factors) != n_pairs or not (np.isfinite(factors) & (factors > 0)).all():
        raise facts.refusal(f"{n_pairs} positive factors", f"{len(factors)} in {name}", "of another model, or damaged?")
    return tuple(map(float, factors))
