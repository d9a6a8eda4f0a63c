"""What a family says about its steps: tokens seen, and whether the learning rate had been annealed to its end."""

from __future__ import annotations

from pretune.config.science import Checkpoint, Phase

MAIN_PHASE = "main"
"""The main pre-training, whatever a repository calls it."""


def find_phase(checkpoint: Checkpoint, phase: str) -> Phase | None:
    """Facts about a phase: those of its whole name, else of the longest first part (``stage2`` of ``stage2-mix1``)."""
    parts = phase.split("-")
    names = ("-".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((checkpoint.phases[name] for name in names if name in checkpoint.phases), None)


def count_tokens(checkpoint: Checkpoint, phase: str, step: int | None) -> int | None:
    """Training tokens seen at ``step`` of ``phase``; ``None`` where the family does not say."""
    if step is None:
        return None
    if phase != MAIN_PHASE:
        facts = find_phase(checkpoint, phase)
        if facts is None or facts.tokens_per_step is None:
            return None
        return facts.tokens_before + step * facts.tokens_per_step
    if checkpoint.tokens_per_step is None:
        return None
    seen, start, batch = checkpoint.tokens_before, 0, checkpoint.tokens_per_step
    for change, next_batch in sorted((int(change), batch) for change, batch in checkpoint.batch_changes.items()):
        if step <= change:
            break
        seen += (change - start) * batch
        start, batch = change, next_batch
    return seen + (step - start) * batch


def is_annealed(checkpoint: Checkpoint, phase: str, step: int | None) -> bool | None:
    """Whether the learning rate had been annealed to its end; ``None`` where the family does not say.

    ``checkpoint.annealed`` holds for whatever revision is named; else the family's ``annealed_from`` decides.
    """
    if checkpoint.annealed is not None:
        return checkpoint.annealed
    facts = checkpoint if phase == MAIN_PHASE else find_phase(checkpoint, phase)
    if step is None or facts is None or facts.annealed_from is None:
        return None
    return step >= facts.annealed_from
