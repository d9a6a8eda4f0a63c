"""``mode=verify``: whether the checkpoints of a grid are what their names say, one verdict per revision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pretune.checkpoints.downloads import find_cached
from pretune.checkpoints.hub import fetch_refs
from pretune.checkpoints.ledger import WeightLedger
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import Resolved, are_one_point, label_of, resolve
from pretune.config.probing import ProbeConfig
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError, HubUnreachable
from pretune.execution.cells import checkpoint_of
from pretune.execution.display import make_console, plain_table
from pretune.execution.jobs import Job
from pretune.execution.probing import find_reference
from pretune.results.checksums import hash_file
from pretune.results.store import Study
from pretune.terminal import say_count

PARALLEL = 8
"""Questions to the Hub at the same time."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found about one checkpoint of a grid."""

    label: str
    revision: str
    commit: str
    weights: str
    size: int
    good: bool
    text: str


def verify_jobs(jobs: Sequence[Job]) -> int:
    """Print a verdict on every checkpoint of ``jobs``; return the exit status: 1 if one is not what its name says."""
    study = Study(jobs[0].config.study_dir)
    checkpoints = {repr(checkpoint): checkpoint for checkpoint in map(checkpoint_of, jobs)}
    verdicts = judge(list(checkpoints.values()), study)
    compared = {
        repr(found): found for found in _find_references(jobs, RefCache(study)) if repr(found) not in checkpoints
    }
    verdicts += judge(list(compared.values()), study)
    bad = sum(not verdict.good for verdict in verdicts)
    head = ("checkpoint", "revision", "commit", "weights", "size", "verdict")
    rows = [
        (v.label, v.revision, v.commit[:12], v.weights[:12], f"{v.size / 1e6:,.0f} MB" if v.size else "", v.text)
        for v in verdicts
    ]
    lines = plain_table(head, rows, right=("size",))
    lines += ["", f"{say_count(len(verdicts), 'checkpoint')}, {len(verdicts) - bad} good, {bad} not."]
    make_console().print("\n".join(lines), markup=False, soft_wrap=True)
    return 1 if bad else 0


def _find_references(jobs: Sequence[Job], refs: RefCache) -> Iterator[Checkpoint]:
    """Checkpoints that probes compare with; the others have been looked up, so that their families' steps are known."""
    for job in jobs:
        if isinstance(job.config, ProbeConfig):
            reference = find_reference(job.config, checkpoint_of(job), refs)
            if reference is not None:
                yield reference


def judge(checkpoints: Sequence[Checkpoint], study: Study) -> list[Verdict]:
    """A verdict on each checkpoint, in their order."""
    refs = RefCache(study)
    repos = list(dict.fromkeys(str(c.repo) for c in checkpoints if c.source == "hub"))
    now = {repo: _present_commits(repo, refs) for repo in repos}
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = list(pool.map(lambda checkpoint: _try_to_resolve(checkpoint, refs), checkpoints))
    resolved = [item for item in found if isinstance(item, Resolved)]
    ledger = WeightLedger(study)
    verdicts = []
    for checkpoint, item in zip(checkpoints, found, strict=True):
        if isinstance(item, CheckpointError):
            verdicts.append(_unresolved(checkpoint, item))
            continue
        troubles = [*_twins(item, resolved), *_history(item, ledger), *_content(item)]
        moved = now.get(str(checkpoint.repo), {}).get(str(item.revision), item.commit) != item.commit
        notes = [*_alias(item), *(["its branch has moved since; this study stays with this commit"] if moved else [])]
        verdicts.append(
            Verdict(
                label=f"{checkpoint.family} {item.label}",
                revision=item.revision or "",
                commit=item.commit or "",
                weights=next(iter(item.hashes.values())) if len(item.hashes) == 1 else item.weights or "",
                size=sum(file.size for file in item.files if file.name in item.hashes),
                good=not troubles,
                text="; ".join([*(troubles or ["good"]), *notes]),
            )
        )
    return verdicts


def _present_commits(repo: str, refs: RefCache) -> dict[str, str]:
    """Commits of the branches and tags as they are now; none where the Hub cannot be reached."""
    try:
        present = {ref.name: ref.commit for ref in fetch_refs(repo)}
    except HubUnreachable:
        if not refs.knows(repo):
            raise
        return {}
    refs.get(repo)
    return present


def _try_to_resolve(checkpoint: Checkpoint, refs: RefCache) -> Resolved | CheckpointError:
    try:
        return resolve(checkpoint, refs)
    except CheckpointError as error:
        return error


def _unresolved(checkpoint: Checkpoint, error: CheckpointError) -> Verdict:
    return Verdict(
        label=f"{checkpoint.family} {label_of(checkpoint)}",
        revision=checkpoint.revision or "",
        commit="",
        weights="",
        size=0,
        good=False,
        text=str(error),
    )


def _twins(item: Resolved, resolved: Sequence[Resolved]) -> Iterator[str]:
    """Other checkpoints of the grid that have the same weights."""
    twins = [
        other.name
        for other in resolved
        if other is not item and other.weights is not None and other.weights == item.weights
        and not are_one_point(other, item)
    ]  # fmt: skip
    if twins:
        more = f" and {len(twins) - 3} more" if len(twins) > 3 else ""
        yield f"same weights as {', '.join(twins[:3])}{more}"


def _history(item: Resolved, ledger: WeightLedger) -> Iterator[str]:
    """What contradicts the cells that the study already has."""
    try:
        ledger.check(item)
    except CheckpointError as error:
        yield str(error)


def _content(item: Resolved) -> Iterator[str]:
    """Downloaded weights that are not what the Hub records."""
    for name, sha256 in item.hashes.items() if item.commit else ():
        path = find_cached(str(item.checkpoint.repo), str(item.commit), name)
        if path is not None and hash_file(path) != sha256:
            yield f"{path} is damaged: delete it"


def _alias(item: Resolved) -> Iterator[str]:
    if item.revision == "main" and item.checkpoint.final_step is not None:
        phase = "" if item.checkpoint.final_phase == "main" else f"{item.checkpoint.final_phase} "
        yield f"main is {phase}step {item.checkpoint.final_step}"
