"""Steps of a model family: from the names of a repository's branches and tags to (phase, step, tokens).

A family's ``pattern`` is a regular expression with the group ``step`` and, where names have them, ``tokens`` (in
billions, or in the ``unit`` T or B) and ``phase``; a name without a phase belongs to the main pre-training. The token
suffix of a name is looked up, never computed: it is inconsistent between repositories (OLMo-1B's two repositories
differ by one unit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pretune.checkpoints.facts import MAIN_PHASE, count_tokens
from pretune.checkpoints.ladders import recipe_of
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError, suggest

UNITS = {"B": 10**9, "T": 10**12}


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A branch or tag of a repository."""

    name: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision that holds the weights of one step."""

    name: str
    commit: str
    phase: str
    step: int
    tokens: int | None


def compile_pattern(checkpoint: Checkpoint) -> re.Pattern[str]:
    """The family's pattern; digits are ASCII digits. Raises :class:`CheckpointError` for one that finds no step."""
    try:
        pattern = re.compile(str(checkpoint.pattern), re.ASCII)
    except re.error as error:
        raise CheckpointError(f"checkpoint.pattern={checkpoint.pattern}: no regular expression: {error}") from None
    if "step" not in pattern.groupindex:
        raise CheckpointError(f"checkpoint.pattern={checkpoint.pattern}: has no group (?P<step>…)")
    return pattern


def parse_revisions(checkpoint: Checkpoint, refs: Iterable[Ref]) -> list[Revision]:
    """Revisions whose whole name matches the family's pattern, the main pre-training first, by step."""
    if checkpoint.pattern is None:
        return []
    pattern = compile_pattern(checkpoint)
    found = []
    for ref in refs:
        match = pattern.fullmatch(ref.name)
        if match is None:
            continue
        groups = match.groupdict()
        try:
            step = int(groups["step"])
        except (TypeError, ValueError):
            raise CheckpointError(
                f"checkpoint.pattern={checkpoint.pattern}: finds no number as step in '{ref.name}'"
            ) from None
        phase = groups.get("phase") or MAIN_PHASE
        tokens = count_tokens(checkpoint, phase, step)
        if tokens is None and groups.get("tokens"):
            tokens = int(groups["tokens"]) * UNITS.get(groups.get("unit") or "B", 10**9)
        found.append(Revision(name=ref.name, commit=ref.commit, phase=phase, step=step, tokens=tokens))
    return sorted(found, key=lambda revision: (revision.phase != MAIN_PHASE, revision.phase, revision.step))


def find_revision(checkpoint: Checkpoint, refs: Sequence[Ref]) -> Revision:
    """The revision of ``checkpoint.step`` in ``checkpoint.phase``; an error names the nearest existing steps."""
    if not isinstance(checkpoint.step, int):
        raise CheckpointError(f"checkpoint.step={checkpoint.step}: stands for several steps; name one or sweep")
    parsed = parse_revisions(checkpoint, refs)
    revisions = [revision for revision in parsed if revision.phase == checkpoint.phase]
    matching = {revision.commit: revision for revision in reversed(revisions) if revision.step == checkpoint.step}
    if len(matching) > 1:
        names = " and ".join(sorted(revision.name for revision in matching.values()))
        raise CheckpointError(
            f"checkpoint.step={checkpoint.step}: {names} of {checkpoint.repo} both have this step; "
            "give checkpoint.step=null checkpoint.revision=… instead"
        )
    if matching:
        return next(iter(matching.values()))
    if not revisions:
        phases = list(dict.fromkeys(revision.phase for revision in parsed))
        if phases:
            raise CheckpointError(
                f"checkpoint.phase={checkpoint.phase}: {checkpoint.repo} has no such phase; "
                + suggest(checkpoint.phase, phases)
            )
        raise CheckpointError(
            f"checkpoint.step={checkpoint.step}: none of the {len(refs)} branches and tags of {checkpoint.repo} "
            f"matches checkpoint.pattern={checkpoint.pattern}"
        )
    wanted = checkpoint.step
    nearest = sorted(sorted(revisions, key=lambda r: abs(r.step - wanted))[:4], key=lambda r: r.step)
    raise CheckpointError(
        f"checkpoint.step={checkpoint.step}: {checkpoint.repo} has no such step; nearest: "
        + ", ".join(str(r.step) for r in nearest)
    )


def find_named_revision(checkpoint: Checkpoint, refs: Sequence[Ref]) -> Ref:
    """The branch or tag ``checkpoint.revision`` (default ``main``), or the commit of that hash."""
    name = checkpoint.revision or "main"
    for ref in refs:
        if name in (ref.name, ref.commit):
            return ref
    if re.fullmatch(r"[0-9a-f]{40}", name):
        return Ref(name=name, commit=name)
    raise CheckpointError(
        f"checkpoint.revision={name}: {checkpoint.repo} has no such branch or tag; "
        + suggest(name, [ref.name for ref in refs])
    )


def list_steps(checkpoint: Checkpoint, refs: Sequence[Ref]) -> list[int]:
    """All steps of ``checkpoint.phase``, increasing; the one that ``main`` stands for is one of them."""
    if checkpoint.source == "ladder":
        return list(recipe_of(checkpoint).stage.save_steps)
    steps = {revision.step for revision in parse_revisions(checkpoint, refs) if revision.phase == checkpoint.phase}
    if checkpoint.final_step is not None and checkpoint.final_phase == checkpoint.phase and steps:
        steps.add(checkpoint.final_step)
    return sorted(steps)


def unify_alias(checkpoint: Checkpoint) -> Checkpoint:
    """``main`` instead of the step that the family says it is, so that both are one point; else the same checkpoint.

    The step may have a branch of its own (OLMo-1B's 738,020) or none (Amber's 359).
    """
    is_final = checkpoint.step == checkpoint.final_step and checkpoint.phase == checkpoint.final_phase
    if checkpoint.source != "hub" or checkpoint.final_step is None or not is_final:
        return checkpoint
    return replace(checkpoint, step=None, phase=MAIN_PHASE, revision="main")


def choose_steps(steps: Sequence[int], choice: str) -> list[int]:
    """Steps that ``all`` or ``every:N`` (each N-th step of the family, the last one included) stands for."""
    if choice == "all":
        return list(steps)
    every = int(choice.removeprefix("every:"))
    chosen = list(steps[::every])
    return chosen if not steps or chosen[-1] == steps[-1] else [*chosen, steps[-1]]
