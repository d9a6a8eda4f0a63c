"""How many rows fit into one forward pass: estimated from what autograd keeps, confirmed by trying."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from pretune.data.encoding import Encoded
from pretune.modeling import input_device, is_out_of_memory, vocabulary_size
from pretune.training.losses import LOGIT_ELEMENTS
from pretune.training.module import CausalLanguageModeling
from pretune.training.steps import StepBatch, make_step

log = logging.getLogger(__name__)

USABLE = 0.7
"""Share of the free memory that is planned with: allocators need room."""
WORTH_TRYING = 0.1
"""An estimate below this share of the free memory is not worth the time of a trial."""
PROBE_TOKENS = 64


def kept_bytes(module: CausalLanguageModeling, rows: Sequence[Encoded], *, packed: bool) -> int:
    """Bytes that autograd keeps for the backward pass of one forward pass over ``rows``, weights left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    (micro,) = _move(module, make_step(rows, pad_id=0, micro_batch=len(rows), packed=packed)).micro_batches
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = module.sum_loss(micro)  # held until all is counted: freed memory would be counted twice
        total = sum(seen.values())
    del loss
    return total


def free_bytes(device: torch.device) -> int:
    """Memory that a training may still take, in bytes."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    with open("/proc/meminfo") as file:
        facts = dict(line.split(":", 1) for line in file)
    return int(facts["MemAvailable"].split()[0]) * 1024


def choose_micro_batch(
    module: CausalLanguageModeling,
    rows: Sequence[Encoded],
    *,
    batch_size: int,
    pad_id: int,
    packed: bool,
    shards: int = 1,
) -> int:
    """The most rows per forward pass, ``batch_size`` halved as often as need be, with which the longest rows fit.

    Gradients and the optimizer's moments, which do not exist yet, are reserved for: one of ``shards`` parts of them.
    Where the estimate is not far below the free memory, the longest rows are tried, forward and backward, and the
    number halved until they pass.
    """
    device = input_device(module.model)
    longest = sorted(rows, key=lambda row: -len(row.ids))[:batch_size]
    room = free_bytes(device) * USABLE
    trained = sum(p.numel() for p in module.model.parameters() if p.requires_grad)
    room -= trained * 12 / shards  # a gradient and two moments of four bytes
    probe = Encoded(ids=longest[0].ids[:PROBE_TOKENS], context=max(len(longest[0].ids[:PROBE_TOKENS]) - 1, 0))
    # a third more: for what is not kept, but lives for a moment
    per_token = kept_bytes(module, [probe], packed=packed) / len(probe.ids) * 1.3
    vocabulary = vocabulary_size(module.model)

    def need(count: int) -> float:
        part = longest[:count]
        tokens = sum(len(row.ids) for row in part) if packed else count * len(longest[0].ids)
        learnt = sum(len(row.supervised()) for row in part) if module.plain_head else tokens
        logits = min(learnt * vocabulary, LOGIT_ELEMENTS) if module.plain_head else learnt * vocabulary
        return tokens * per_token + 12.0 * logits

    count = batch_size
    while count > 1 and need(count) > room:
        count = -(-count // 2)
    while need(count) > WORTH_TRYING * room and not fits(module, longest[:count], pad_id=pad_id, packed=packed):
        if count == 1:
            break  # the training itself will say so
        count = -(-count // 2)
    if count < batch_size:
        log.info("%d of %d rows fit into one forward pass; the others are accumulated", count, batch_size)
    return count


def fits(module: CausalLanguageModeling, rows: Sequence[Encoded], *, pad_id: int, packed: bool) -> bool:
    """Whether a forward and a backward pass over ``rows`` succeed; leaves neither gradients nor random state."""
    step = _move(module, make_step(rows, pad_id=pad_id, micro_batch=len(rows), packed=packed))
    try:
        with torch.random.fork_rng():
            module.sum_loss(step.micro_batches[0]).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        for parameter in module.parameters():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _move(module: CausalLanguageModeling, step: StepBatch) -> Any:
    return module.transfer_batch_to_device(step, input_device(module.model), 0)
