"""Quantised weights: what is lost by storing the linear layers in few bits.

Every matrix of the chosen tensors is quantised and dequantised in place, one kind after the other; activations stay as
they are. ``nf4`` and ``int8`` are bitsandbytes' own: 4-bit NormalFloat with one scale for 64 weights (Dettmers et al.,
arXiv 2305.14314) and row-wise absmax int8 (LLM.int8, arXiv 2208.07339, without its outlier decomposition, which
concerns activations). ``rtn3``, ``rtn4``, ``rtn8`` round to the nearest of 2^b evenly spaced levels between the
smallest and the largest of ``group_size`` neighbouring weights of a row (Nagel et al., arXiv 2106.08295, section 2.2).

For each kind: the disturbed loss (score) with its increase (drop), and ``weight_error``, the relative Frobenius error
‖Q(W) − W‖ / ‖W‖ over all quantised weights. ``magnitude`` is the number of bits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch

from pretune.errors import UsageError
from pretune.probes.disturbing import Weights
from pretune.probes.gaussian import compare, describe
from pretune.probes.subject import Findings, Subject

BITS = {"nf4": 4, "int8": 8, "rtn3": 3, "rtn4": 4, "rtn8": 8}
NF4_BLOCK = 64


def probe_quantize(subject: Subject) -> Findings:
    """Measure the subject with quantised weights of every kind."""
    probe = subject.probe
    weights = Weights(subject.model, probe.tensors)
    matrices = {name: value for name, value in weights.kept.items() if value.dim() == 2}
    if not matrices:
        raise UsageError(f"probe.tensors={','.join(probe.tensors)}: there is no matrix to quantise among them")
    check_device(next(iter(matrices.values())).device, probe.kinds)
    base = [meter.read(subject.model) for meter in subject.meters]
    rows: list[dict[str, Any]] = []
    for number, kind in enumerate(probe.kinds, start=1):
        where = {"probe_variant": kind, "magnitude": float(BITS[kind])}
        error = torch.zeros((), dtype=torch.float64)
        size = torch.zeros((), dtype=torch.float64)

        def quantised(kind: str = kind, error: Any = error, size: Any = size) -> Iterator[tuple[str, torch.Tensor]]:
            for name, value in matrices.items():
                changed = quantise(value, kind, group_size=probe.group_size)
                error += (changed - value).double().square().sum().cpu()
                size += value.double().square().sum().cpu()
                yield name, changed

        with weights.changed(quantised()):
            readings = [meter.read(subject.model) for meter in subject.meters]
        for meter, before, after in zip(subject.meters, base, readings, strict=True):
            rows += [describe(meter, after, where), *compare(meter, before, after, where)]
        rows.append({**where, "metric": "weight_error", "value": float((error / size).sqrt()), "n": len(matrices)})
        subject.on_step(number, len(probe.kinds))
    facts = {"matrices": len(matrices), "weights": sum(value.numel() for value in matrices.values())}
    return Findings(rows=rows, facts=facts)


def check_device(device: torch.device, kinds: tuple[str, ...]) -> None:
    """Bitsandbytes must be there, and work on the device, where it is asked for."""
    wanted = [kind for kind in kinds if not kind.startswith("rtn")]
    if not wanted:
        return
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"probe.kinds={','.join(wanted)}: bitsandbytes does not work on {device.type}; valid: rtn3, …")
    # it says at import which optional kernels it does not find; its own Python code serves as well
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise UsageError(
            f"probe.kinds={','.join(wanted)}: needs bitsandbytes (pip install bitsandbytes); valid without: rtn3, …"
        ) from None


def quantise(matrix: torch.Tensor, kind: str, *, group_size: int) -> torch.Tensor:
    """``matrix`` through the quantisation ``kind`` and back."""
    if kind == "nf4":
        from bitsandbytes import functional

        packed, state = functional.quantize_4bit(matrix.contiguous(), quant_type="nf4", blocksize=NF4_BLOCK)
        back: torch.Tensor = functional.dequantize_4bit(packed, state).to(matrix.dtype)
        return back
    if kind == "int8":
        from bitsandbytes import functional

        # LLM.int8 stores weights from half precision
        codes, scales, _ = functional.int8_vectorwise_quant(matrix.contiguous().half())
        restored: torch.Tensor = functional.int8_vectorwise_dequant(codes, scales).to(matrix.dtype)
        return restored
    return round_to_nearest(matrix, bits=BITS[kind], group_size=group_size)


def round_to_nearest(matrix: torch.Tensor, *, bits: int, group_size: int) -> torch.Tensor:
    """Round each group of ``group_size`` neighbours in a row to 2^bits levels from its smallest to its largest."""
    parts = []
    for part in torch.split(matrix, group_size, dim=1):
        low, high = part.amin(dim=1, keepdim=True), part.amax(dim=1, keepdim=True)
        step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(part.dtype).tiny)
        parts.append(low + ((part - low) / step).round() * step)
    return torch.cat(parts, dim=1)
