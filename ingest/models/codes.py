"""Which stored tensors are codes, which scales, zeros and tables belong to them, and the weights that they make.

A quantized weight is several stored tensors: its codes, and beside them what turns codes into values. Every method has
its own names, formats and shapes for them; the recognisers below know those of the common methods. Where names leave a
choice, the settings of the checkpoint's `methods.Method` decide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import dequantize
from eigenhouse.ingest.models.methods import Method
from eigenhouse.ingest.models.weights import FLOATS, FP8, Weight
from eigenhouse.ingest.sources.stored import Stored

EXPONENTS = (torch.float8_e8m0fnu, torch.uint8)
SCALES = (*FLOATS, *FP8, *EXPONENTS)
MX_GROUP, NV_GROUP = 32, 16  # codes that share a scale in the OCP MX formats, and in NVFP4
BNB_STATE = "quant_state.bitsandbytes__"


def weights_of(tensors: Mapping[str, Stored], method: Method) -> dict[str, Weight]:
    """Plain name → weight: codes are joined with the tensors that belong to them; any other is a weight as it is.

    Raises EigenhouseError where the parts of a weight don't fit one another.
    """
    weights: dict[str, Weight] = {}
    used: set[str] = set()
    for name, tensor in tensors.items():
        for recognise in RECOGNISERS:
            try:
                weight = recognise(name, tensor, tensors, method)
            except (KeyError, ValueError, IndexError) as error:
                raise EigenhouseError(
                    f"want codes and beside them what makes values of codes; got {name} ({_shown(tensor)}), but "
                    f"{_reason(error)}"
                ) from error
            if weight is not None:
                if weight.name in tensors and weight.name != name:
                    raise EigenhouseError(f"want {weight.name} once, but it is stored as it is and as codes ({name})")
                weights[weight.name] = weight
                used |= {part.name for part in (*weight.parts.values(), *weight.also)}
                break
    plain = {name: tensor for name, tensor in tensors.items() if name not in used}
    return weights | {name: Weight(name, one.shape, {"codes": one}, one.read) for name, one in plain.items()}


def _shown(tensor: Stored) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is not stored" if isinstance(error, KeyError) else str(error)


def _made(
    name: str,
    shape: tuple[int, ...],
    parts: Mapping[str, Stored],
    make: Callable[..., torch.Tensor],
    kind: str,
    bits: int,
    settings: Mapping[str, Any] | None = None,
    also: tuple[Stored, ...] = (),
) -> Weight:
    """A weight that `make` makes of its parts, passed by their roles, and of settings. also: see `Weight`."""
    settings = settings or {}

    def read() -> torch.Tensor:
        made = make(**{role: part.read() for role, part in parts.items()}, **settings)
        if tuple(made.shape) != shape:
            raise EigenhouseError(f"want {name} of shape {list(shape)}, but its codes make {list(made.shape)}")
        return made

    return Weight(name, shape, parts, read, kind, bits, settings, also)


def _parts(tensors: Mapping[str, Stored], needed: Mapping[str, str], perhaps: Mapping[str, str]) -> dict[str, Stored]:
    """Role → tensor. Raises KeyError with the name of a needed tensor that is not stored."""
    return {role: tensors[name] for role, name in needed.items()} | {
        role: tensors[name] for role, name in perhaps.items() if name in tensors
    }


def _want(is_so: bool, what: str) -> None:
    if not is_so:
        raise ValueError(what)


def _want_spread(table: Stored, shape: tuple[int, ...], block: dequantize.Block | None) -> None:
    """Raises ValueError where a scale, or a zero, is in no known format, or does not fit the codes."""
    _want(table.dtype in (*SCALES, torch.int8), f"{table.name} is {_shown(table)}")
    dequantize.spread(torch.empty(table.shape, device="meta"), shape, block)


def _scaled(name: str, codes: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """FP8 and int8 with one scale a weight, row or block: fp8, mxfp8, fbgemm_fp8, modelopt, compressed-tensors."""
    if codes.dtype not in (*FP8, torch.int8):
        return None
    names = [f"{name}_scale_inv", f"{name}_scale", f"{name.removesuffix('weight')}scale"]
    scale = next((one for one in names if one in tensors and one != name), None)
    if scale is None:
        return None
    _want_unscaled_inputs(name, tensors)
    parts = _parts(tensors, {"codes": name, "scale": scale}, {"zero": f"{name}_zero_point"})
    shape, table = codes.shape, parts["scale"].shape
    fits = [block for block in method.blocks if table[len(shape) - 2 :] == _n_blocks(shape, block)]
    block = fits[0] if fits else None
    if block is None and parts["scale"].dtype in EXPONENTS and table[-1:] == (-(-shape[-1] // MX_GROUP),):
        block = (1, MX_GROUP)
    if block is None and len(table) == len(shape) and table[-2] == shape[-2] and table[-1] > 1:
        block = (1, method.group(shape[-1], table[-1]))
    for role in parts.keys() - {"codes"}:
        _want_spread(parts[role], shape, block)
    kind = "int8" if codes.dtype == torch.int8 else "fp8"
    return _made(name, shape, parts, dequantize.scaled, kind, 8, {"block": block})


def _n_blocks(shape: tuple[int, ...], block: dequantize.Block) -> tuple[int, ...]:
    return -(-shape[-2] // block[0]), -(-shape[-1] // block[1])


def _want_unscaled_inputs(name: str, tensors: Mapping[str, Stored]) -> None:
    scales_inputs = f"{name.removesuffix('_packed').removesuffix('.weight')}.pre_quant_scale" in tensors
    _want(not scales_inputs, "a pre_quant_scale multiplies its inputs too")


def _int8_rows(name: str, codes: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """bitsandbytes' 8 bits."""
    base = name.removesuffix("weight")
    if codes.dtype != torch.int8 or f"{base}SCB" not in tensors:
        return None
    parts = _parts(tensors, {"codes": name, "scale": f"{base}SCB"}, {})
    also = tuple(tensors[one] for one in (f"{base}weight_format",) if one in tensors)
    _want(all(int(one.read()) == 0 for one in also), "its rows are in an order that a GPU wanted (weight_format)")
    _want(parts["scale"].shape == codes.shape[:1], f"SCB is {_shown(parts['scale'])}")
    return _made(name, codes.shape, parts, dequantize.int8_rows, "int8", 8, also=also)


def _four_bit_blocks(name: str, codes: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """bitsandbytes' nf4 and fp4."""
    state = next(
        (f"{name}.{BNB_STATE}{kind}" for kind in ("nf4", "fp4") if f"{name}.{BNB_STATE}{kind}" in tensors), None
    )
    if state is None or codes.dtype not in (torch.uint8, torch.int8, *FLOATS):  # quant_storage may be any
        return None
    state_of = json.loads(bytes(tensors[state].read().tolist()))
    is_nested = "nested_blocksize" in state_of
    nested = {"nested_table": f"{name}.nested_quant_map", "nested_largest": f"{name}.nested_absmax"}
    roles = {"codes": name, "table": f"{name}.quant_map", "largest": f"{name}.absmax"} | (nested if is_nested else {})
    parts = _parts(tensors, roles, {})
    shape, block = tuple(state_of["shape"]), int(state_of["blocksize"])
    n_values, n_bytes = math.prod(shape), math.prod(codes.shape) * codes.dtype.itemsize
    _want(n_bytes == -(-n_values // 2), f"{n_bytes} bytes for {n_values} codes")
    _want(parts["largest"].shape == (-(-n_values // block),), f"absmax is {_shown(parts['largest'])}")
    _want((parts["largest"].dtype not in FLOATS) == is_nested, f"absmax is {_shown(parts['largest'])}")
    settings: dict[str, Any] = {"shape": shape, "block": block}
    settings |= {"nested_block": state_of["nested_blocksize"], "offset": state_of["nested_offset"]} if is_nested else {}
    kind = state.rpartition("__")[2]
    return _made(name, shape, parts, dequantize.four_bit_blocks, kind, 4, settings, (tensors[state],))


def _packed_integers(name: str, words: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """compressed-tensors' pack-quantized."""
    if not name.endswith(".weight_packed") or words.dtype != torch.int32:
        return None
    base = name.removesuffix("_packed")
    needed = {"codes": name, "scale": f"{base}_scale"}
    parts = _parts(tensors, needed, {"zero": f"{base}_zero_point", "g_idx": f"{base}_g_idx"})
    stored_shape, scale = tensors[f"{base}_shape"], parts["scale"]
    shape = tuple(int(size) for size in stored_shape.read())
    fits = {bits for bits in range(1, 9) if -(-shape[-1] * bits // 32) == words.shape[-1]}
    chosen = fits & method.bits or fits
    _want(
        len(chosen) == 1,
        f"{words.shape[-1]} words a row fit {shape[-1]} codes of no number of bits that the config sets",
    )
    _want(words.shape[:-1] == shape[:-1], f"{stored_shape.name} says {list(shape)}")
    [bits] = chosen
    n_groups = scale.shape[-1] if len(scale.shape) == len(shape) else 1
    group = method.group(shape[-1], n_groups)
    _want_spread(scale, shape, (1, group))
    if "zero" in parts:
        packed = (*shape[:-2], -(-shape[-2] * bits // 32), n_groups)
        _want(parts["zero"].shape == packed, f"{parts['zero'].name} is {_shown(parts['zero'])}")
    settings = {"shape": shape, "bits": bits, "group": group}
    return _made(base, shape, parts, dequantize.packed_integers, "pack-quantized", bits, settings, (stored_shape,))


def _fp4(name: str, packed: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """NVFP4 and MXFP4, two codes a byte, of modelopt or compressed-tensors."""
    if packed.dtype != torch.uint8 or not name.endswith((".weight", ".weight_packed")):
        return None
    base = name.removesuffix("_packed")
    if f"{base}_scale" not in tensors or (base == name and f"{base}_scale_2" not in tensors):
        return None
    _want_unscaled_inputs(name, tensors)
    of_all = {"multiplier": f"{base}_scale_2", "divisor": f"{base}_global_scale"}
    parts = _parts(tensors, {"codes": name, "scale": f"{base}_scale"}, of_all)
    scale, shape = parts["scale"], (*packed.shape[:-1], 2 * packed.shape[-1])
    is_nv = scale.dtype in FP8
    _want(is_nv or scale.dtype in EXPONENTS, f"{scale.name} is {_shown(scale)}")
    _want(is_nv == bool(parts.keys() & of_all.keys()), "its scale of the whole weight is not stored")
    group = NV_GROUP if is_nv else MX_GROUP
    _want_spread(scale, shape, (1, group))
    return _made(base, shape, parts, dequantize.fp4_in_groups, "NVFP4" if is_nv else "MXFP4", 4, {"group": group})


def _mxfp4_experts(name: str, blocks: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """gpt_oss's stacked experts."""
    if not name.endswith("_blocks") or blocks.dtype != torch.uint8:
        return None
    base = name.removesuffix("_blocks")
    parts = _parts(tensors, {"codes": name, "scale": f"{base}_scales"}, {})
    n_experts, n_outputs, n_groups, n_bytes = blocks.shape
    _want(parts["scale"].shape == blocks.shape[:-1], f"its scales are {_shown(parts['scale'])}")
    shape = (n_experts, 2 * n_groups * n_bytes, n_outputs)
    return _made(base, shape, parts, dequantize.mxfp4_experts, "mxfp4", 4)


def _grouped(name: str, words: Stored, tensors: Mapping[str, Stored], method: Method) -> Weight | None:
    """GPTQ and AWQ, which pack different axes."""
    if not name.endswith(".qweight"):
        return None
    base = name.removesuffix("qweight")
    needed = {"codes": name, "zero": f"{base}qzeros", "scale": f"{base}scales"}
    parts = _parts(tensors, needed, {"g_idx": f"{base}g_idx"})
    zero, (n_groups, n_outputs) = parts["zero"], parts["scale"].shape
    _want(words.dtype == zero.dtype == torch.int32, f"{name} is {_shown(words)}, {zero.name} {_shown(zero)}")
    kind = "gptq" if words.shape[1] == n_outputs else "awq"
    _want(method.name in ("", kind), f"they are packed as {kind} packs them, and the config names {method.name}")
    bits, rest = divmod(32 * zero.shape[1], n_outputs)
    _want(rest == 0 and len(zero.shape) == 2 and zero.shape[0] == n_groups, f"{zero.name} is {_shown(zero)}")
    _want(not method.bits or bits in method.bits or "dynamic" in method.settings, f"they are of {bits} bits")
    n_inputs = 32 * words.shape[0] // bits if kind == "gptq" else words.shape[0]
    shape = (n_outputs, n_inputs)
    group = 0 if "g_idx" in parts else method.group(n_inputs, n_groups)
    if kind == "gptq":
        _want("g_idx" not in parts or parts["g_idx"].shape == (n_inputs,), "its g_idx has another length")
        layouts = {method.settings.get(name) for name in ("checkpoint_format", "format")}
        offset = 0 if "gptq_v2" in layouts else 1
        settings: dict[str, Any] = {"bits": bits, "offset": offset, "group": group}
        return _made(f"{base}weight", shape, parts, dequantize.gptq, kind, bits, settings)
    # only one tool writes 8 bits, and it keeps their order; other readers expect them interleaved
    is_ordered = str((method.settings.get("meta") or {}).get("quantizer")).startswith(("gptqmodel", "['gptqmodel"))
    _want(zero.shape[1] == words.shape[1] and "g_idx" not in parts, f"{zero.name} is {_shown(zero)}")
    _want(bits == 4 or (bits == 8 and is_ordered), f"no meta.quantizer says in which order AWQ's {bits} bits lie")
    settings = {"bits": bits, "order": dequantize.AWQ_ORDER if bits == 4 else (0, 1, 2, 3), "group": group}
    return _made(f"{base}weight", shape, parts, dequantize.awq, kind, bits, settings)


RECOGNISERS = (_grouped, _packed_integers, _mxfp4_experts, _fp4, _four_bit_blocks, _int8_rows, _scaled)
