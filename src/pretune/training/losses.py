"""Cross-entropy where it is learnt, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from pretune.modeling import vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGIT_ELEMENTS = 2**25
"""Logits held at a time (128 MiB in fp32): more of them are computed in chunks, and again in the backward pass."""

LAYOUT = ("position_ids", "lengths", "offsets")
"""What a packed micro-batch tells the model besides its tokens."""


def supervised_logits(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """Logits [supervised, vocabulary] of a model whose logits are more than a linear map of its hidden states."""
    output: Any = model(input_ids=batch["input_ids"], use_cache=False, **layout_of(batch))
    logits: torch.Tensor = output.logits[batch["rows"], batch["columns"]]
    return logits


def supervised_states(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """Last hidden states [supervised, width] at the positions whose next token is learnt."""
    output: Any = model.base_model(input_ids=batch["input_ids"], use_cache=False, **layout_of(batch))
    states: torch.Tensor = output.last_hidden_state[batch["rows"], batch["columns"]]
    return states


def layout_of(batch: dict[str, Any]) -> dict[str, Any]:
    """Arguments by which packed rows are kept apart; none for padded rows."""
    return {name: batch[name] for name in LAYOUT if name in batch}


def sum_cross_entropy(model: PreTrainedModel, batch: dict[str, Any], *, plain_head: bool) -> torch.Tensor:
    """Summed cross-entropy in nats (fp32) over the supervised positions of a micro-batch.

    With a plain head (see :func:`pretune.modeling.has_plain_head`) the output embeddings are applied to those
    positions only; where their logits are many, chunk by chunk, none of which outlives its own loss.
    """
    targets = batch["targets"]
    if not plain_head:
        return _head_loss(torch.nn.Identity(), supervised_logits(model, batch), targets)
    states: torch.Tensor = supervised_states(model, batch)
    head: Any = model.get_output_embeddings()
    size = max(1, LOGIT_ELEMENTS // vocabulary_size(model))
    if len(targets) <= size:
        return _head_loss(head, states, targets)
    total = states.new_zeros((), dtype=torch.float32)
    for part, wanted in zip(torch.split(states, size), torch.split(targets, size), strict=True):
        total = total + checkpoint(_head_loss, head, part, wanted, use_reentrant=False)
    return total


def count_right(
    model: PreTrainedModel, batch: dict[str, Any], *, plain_head: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy, and the number of supervised tokens that the model would have chosen itself."""
    targets = batch["targets"]
    head: Any = model.get_output_embeddings() if plain_head else torch.nn.Identity()
    states = supervised_states(model, batch) if plain_head else supervised_logits(model, batch)
    loss = torch.zeros((), device=targets.device)
    right = torch.zeros((), device=targets.device)
    size = max(1, LOGIT_ELEMENTS // (vocabulary_size(model) if plain_head else states.shape[1]))
    for part, wanted in zip(torch.split(states, size), torch.split(targets, size), strict=True):
        logits = head(part).float()
        loss += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        right += (logits.argmax(-1) == wanted).sum()
    return loss, right


def _head_loss(head: torch.nn.Module, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(head(states).float(), targets, reduction="sum")
