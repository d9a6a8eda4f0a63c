"""What a probe gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pretune.config.probing import Probe
from pretune.config.science import Format
from pretune.data.examples import Example

if TYPE_CHECKING:
    import torch

    from pretune.probes.meters import Meter


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Weights of another checkpoint of the same family."""

    label: str
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model under a probe. ``meters`` measure it on ``examples``: the pre-training text first, then the tasks.

    ``wordings`` names the prompt format of each meter; only the format probe has several meters of one task.

    ``base`` are the weights before fine-tuning, where the model is a fine-tuned one. ``reference`` is another
    checkpoint of its family (step 0 unless the probe says otherwise), where there is one; ``init_std`` the standard
    deviation of the initialisation as the catalogue has it.
    """

    model: Any
    tokenizer: Any
    probe: Probe
    meters: Sequence[Meter]
    examples: Sequence[Sequence[Example]] = ()
    wordings: Sequence[str] = ()
    formats: Mapping[str, Format] = field(default_factory=dict)
    base: Mapping[str, torch.Tensor] | None = None
    reference: Reference | None = None
    init_std: float | None = None
    on_step: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Rows of the results table (columns ``probe_variant`` … ``n``, eval_task, scorer), and facts for the record."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
