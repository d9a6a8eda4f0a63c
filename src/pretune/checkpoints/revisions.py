"""Steps of a model family: from the names of a repository's branches and tags to (phase, step, tokens).

A family's ``pattern`` is a regular expression with the group ``step`` and, where names have them, ``tokens`` (in
billions) and ``phase``. The token suffix of a name is looked up, never computed: it is inconsistent between
repositories (facts: OLMo-1B's two repositories differ by one unit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError

MAIN_PHASE = "main"


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


def parse_revisions(checkpoint: Checkpoint, refs: Iterable[Ref]) -> list[Revision]:
    """Revisions whose whole name matches the family's pattern, by phase and step."""
    if checkpoint.pattern is None:
        return []
    try:
        pattern = re.compile(checkpoint.pattern)
    except re.error as error:
        raise CheckpointError(f"checkpoint.pattern={checkpoint.pattern}: no regular expression: {error}") from None
    if "step" not in pattern.groupindex:
        raise CheckpointError(f"checkpoint.pattern={checkpoint.pattern}: has no group (?P<step>…)")
    found = []
    for ref in refs:
        match = pattern.fullmatch(ref.name)
        if match is None:
            continue
        groups = match.groupdict()
        step = int(groups["step"])
        if checkpoint.tokens_per_step is not None:
            tokens: int | None = step * checkpoint.tokens_per_step
        else:
            tokens = int(groups["tokens"]) * 10**9 if groups.get("tokens") else None
        phase = groups.get("phase") or MAIN_PHASE
        found.append(Revision(name=ref.name, commit=ref.commit, phase=phase, step=step, tokens=tokens))
    return sorted(found, key=lambda revision: (revision.phase, revision.step))


def find_revision(checkpoint: Checkpoint, refs: Sequence[Ref]) -> Revision:
    """The revision of ``checkpoint.step`` in ``checkpoint.phase``; an error names the nearest existing steps."""
    if not isinstance(checkpoint.step, int):
        raise CheckpointError(f"checkpoint.step={checkpoint.step}: stands for several steps; name one or sweep")
    revisions = [r for r in parse_revisions(checkpoint, refs) if r.phase == checkpoint.phase]
    for revision in revisions:
        if revision.step == checkpoint.step:
            return revision
    if not revisions:
        raise CheckpointError(
            f"checkpoint.step={checkpoint.step}: none of the {len(refs)} branches and tags of {checkpoint.repo} "
            f"matches checkpoint.pattern={checkpoint.pattern} in phase '{checkpoint.phase}'"
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
    from pretune.errors import suggest

    raise CheckpointError(
        f"checkpoint.revision={name}: {checkpoint.repo} has no such branch or tag; "
        + suggest(name, [ref.name for ref in refs])
    )


def list_steps(checkpoint: Checkpoint, refs: Sequence[Ref]) -> list[int]:
    """All steps of ``checkpoint.phase``, increasing."""
    if checkpoint.recipe is not None:
        return list(checkpoint.recipe.stage.save_steps)
    return [r.step for r in parse_revisions(checkpoint, refs) if r.phase == checkpoint.phase]


def choose_steps(steps: Sequence[int], choice: str) -> list[int]:
    """Steps that ``all`` or ``every:N`` (each N-th step of the family, the last one included) stands for."""
    if choice == "all":
        return list(steps)
    every = int(choice.removeprefix("every:"))
    chosen = list(steps[::every])
    return chosen if not steps or chosen[-1] == steps[-1] else [*chosen, steps[-1]]
