"""``mode=checkpoints``: which steps a family has, with tokens, from its repository's branches and tags."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence

from pretune.checkpoints.facts import MAIN_PHASE, is_annealed
from pretune.checkpoints.ladders import recipe_of
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.revisions import Ref, Revision, choose_steps, list_steps, parse_revisions
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.science import Checkpoint
from pretune.errors import HubUnreachable, UsageError
from pretune.execution.display import make_console, plain_table
from pretune.results.store import Study
from pretune.terminal import say_count

log = logging.getLogger(__name__)

SHOWN_OTHERS = 12
"""Branches and tags without a step that are named; the rest is counted."""


def show_checkpoints(configs: Sequence[TrainConfig | EvaluateConfig]) -> int:
    """Print the checkpoints of every family that the configurations name; return the exit status."""
    families: dict[str, tuple[Checkpoint, RefCache]] = {}
    for config in configs:
        family = config.checkpoint
        if not isinstance(family.step, str):  # a choice of steps is shown, a single step is looked for
            family = dataclasses.replace(family, step=None)
        family = dataclasses.replace(family, revision=None)
        families.setdefault(repr(family), (family, RefCache(Study(config.study_dir))))
    blocks = ["\n".join(describe_family(family, refs)) for family, refs in families.values()]
    make_console().print("\n\n".join(blocks), markup=False, soft_wrap=True)
    return 0


def describe_family(family: Checkpoint, refs: RefCache) -> Iterator[str]:
    """Lines about one family: what is known of it, its steps, what else its repository has."""
    if family.source == "path":
        raise UsageError(f"checkpoint.path={family.path}: a folder holds one checkpoint, not a family")
    if family.source == "ladder":
        yield from _describe_ladder(family)
        return
    known = _ask(family, refs)
    parsed = parse_revisions(family, known)
    chosen = _choose(family, known, parsed)
    yield f"{family.family}: {family.repo}, {say_count(len(chosen), 'checkpoint')}{_facts(family)}"
    yield ""
    yield from _table(family, chosen)
    others = [ref.name for ref in known if ref.name not in {revision.name for revision in parsed}]
    yield ""
    if family.final_step is not None:
        phase = "" if family.final_phase == MAIN_PHASE else f"{family.final_phase} "
        yield f"main is {phase}step {family.final_step}."
    if others:
        more = f", … ({len(others)} in all)" if len(others) > SHOWN_OTHERS else ""
        yield f"Without a step (checkpoint.revision=…): {', '.join(others[:SHOWN_OTHERS])}{more}"


def _ask(family: Checkpoint, refs: RefCache) -> Sequence[Ref]:
    """The branches and tags as they are now; as the study knows them where the Hub cannot be reached."""
    try:
        return refs.get(str(family.repo), refresh=True)
    except HubUnreachable:
        if not refs.knows(str(family.repo)):
            raise
        log.warning("%s cannot be asked now: this is what the study has noted", family.repo)
        return refs.get(str(family.repo))


def _choose(family: Checkpoint, known: Sequence[Ref], parsed: Sequence[Revision]) -> list[Revision]:
    if family.phase != MAIN_PHASE:
        parsed = [revision for revision in parsed if revision.phase == family.phase]
    if isinstance(family.step, str):
        steps = set(choose_steps(list_steps(family, known), family.step))
        parsed = [revision for revision in parsed if revision.phase == family.phase and revision.step in steps]
    return list(parsed)


def _table(family: Checkpoint, revisions: Sequence[Revision]) -> Iterator[str]:
    several = len({revision.phase for revision in revisions}) > 1
    annealed = {r.name: is_annealed(family, r.phase, r.step) for r in revisions}
    tells = len(set(annealed.values())) > 1
    rows = [
        (
            *((revision.phase,) if several else ()),
            f"{revision.step:,}",
            format_tokens(revision.tokens),
            *(({True: "annealed", False: "", None: "?"}[annealed[revision.name]],) if tells else ()),
            revision.name,
            revision.commit[:12],
        )
        for revision in revisions
    ]
    head = (*(("phase",) if several else ()), "step", "tokens", *(("rate",) if tells else ()), "revision", "commit")
    yield from plain_table(head, rows, right=("step", "tokens"))


def _describe_ladder(family: Checkpoint) -> Iterator[str]:
    stage = recipe_of(family).stage
    where = f"the ladder in {family.path}" if family.path else "trained here on first use"
    steps = list_steps(family, ())
    if isinstance(family.step, str):
        steps = choose_steps(steps, family.step)
    yield f"{family.family}: {where}, {say_count(len(steps), 'checkpoint')}"
    yield ""
    rows = [(f"{step:,}", format_tokens(step * stage.batch_size * stage.sequence_length)) for step in steps]
    yield from plain_table(("step", "tokens"), rows, right=("step", "tokens"))


def _facts(family: Checkpoint) -> str:
    """What is known of a family beside its steps."""
    facts = []
    if family.tokens_per_step is not None:
        facts.append(f"{family.tokens_per_step:,} tokens a step")
        changes = sorted((int(start), batch) for start, batch in family.batch_changes.items())
        facts += [f"{batch:,} from step {start:,} on" for start, batch in changes]
    if family.context_length is not None:
        facts.append(f"context {family.context_length:,}")
    if family.annealed is not None:
        facts.append("annealed" if family.annealed else "not annealed")
    return "".join(f"; {fact}" for fact in facts)


def format_tokens(tokens: int | None) -> str:
    """A number of tokens with three or four digits: ``4.19 B``, ``1,434 B``, ``3.10 T``."""
    if tokens is None:
        return "?"
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens >= unit:
            value = tokens / unit
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {name}"
    return str(tokens)
