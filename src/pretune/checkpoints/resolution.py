"""From a checkpoint as asked for to weights with a proven identity."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretune.checkpoints.downloads import download
from pretune.checkpoints.facts import count_tokens, is_annealed
from pretune.checkpoints.files import HubFile, choose_small, choose_weights
from pretune.checkpoints.ladders import find_ladder, identify_ladder, recipe_of, step_dir
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.revisions import Ref, find_named_revision, find_revision, parse_revisions
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError, HubUnreachable
from pretune.results.checksums import hash_file
from pretune.results.identity import digest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Weights whose identity is known; nothing need be downloaded yet.

    ``identity`` is what enters a cell's id: commit and SHA-256 of the weight files (the recipe, for ladders).
    """

    checkpoint: Checkpoint
    label: str
    step: int | None
    tokens: int | None
    phase: str
    revision: str | None
    commit: str | None
    hashes: Mapping[str, str]
    identity: str
    files: tuple[HubFile, ...] = ()
    """What loading needs from the Hub: weights, configuration, tokenizer."""
    annealed: bool | None = None
    pretrain_seed: int | None = None

    @property
    def weights(self) -> str | None:
        """Hash of the content of the weight files, whatever their names; ``None`` for a ladder's."""
        return digest(sorted(self.hashes.values())) if self.hashes else None

    @property
    def name(self) -> str:
        """Full name: repository or folder, and revision."""
        place = self.checkpoint.repo or self.checkpoint.path or self.checkpoint.family
        return f"{place}@{self.revision or self.label}"


def label_of(checkpoint: Checkpoint) -> str:
    """Short readable name of a checkpoint within its family."""
    if checkpoint.step is not None:
        prefix = "" if checkpoint.phase == "main" else f"{checkpoint.phase}-"
        return f"{prefix}step{checkpoint.step}"
    if checkpoint.source == "path":
        folder = Path(str(checkpoint.path)).expanduser()
        return f"{folder.name}-{_short_content(folder)}"  # many folders are called checkpoint-1000
    if checkpoint.source == "hub" and checkpoint.family == "hub":
        return f"{checkpoint.repo}@{checkpoint.revision or 'main'}"
    return checkpoint.revision or "main"


@functools.cache
def _short_content(folder: Path) -> str:
    """First digits of the hash of a folder's weights; a folder is read once per process."""
    return digest(hash_weights(folder, allow_pickle=True))[:6]


def resolve(checkpoint: Checkpoint, refs: RefCache) -> Resolved:
    """Find the revision, its commit and the hashes of its weights.

    Raises :class:`~pretune.errors.CheckpointError` when the checkpoint does not exist.
    """
    if checkpoint.source == "ladder":
        return _resolve_ladder(checkpoint)
    if checkpoint.source == "path":
        return _resolve_path(checkpoint)
    return _resolve_hub(checkpoint, refs)


def _resolve_ladder(checkpoint: Checkpoint) -> Resolved:
    recipe = recipe_of(checkpoint)
    stage = recipe.stage
    if checkpoint.step not in stage.save_steps:
        steps = ", ".join(map(str, stage.save_steps))
        raise CheckpointError(f"checkpoint.step={checkpoint.step}: name a step of the ladder; valid: {steps}")
    step = int(checkpoint.step)
    # on real text every kept step ends a schedule of its own
    ends_schedule = step == stage.save_steps[-1] or (recipe.text != "pico" and step > 0)
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=step * stage.batch_size * stage.sequence_length,
        phase=checkpoint.phase,
        revision=None,
        commit=None,
        hashes={},
        identity=digest({"recipe": identify_ladder(checkpoint), "step": step}),
        annealed=stage.schedule != "constant" and ends_schedule,
        pretrain_seed=recipe.seed,
    )


def _resolve_path(checkpoint: Checkpoint) -> Resolved:
    folder = Path(str(checkpoint.path)).expanduser()
    hashes = hash_weights(folder, allow_pickle=checkpoint.allow_pickle)
    step = checkpoint.step if isinstance(checkpoint.step, int) else None
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=count_tokens(checkpoint, checkpoint.phase, step),
        phase=checkpoint.phase,
        revision=None,
        commit=None,
        hashes=hashes,
        identity=hash_folder(folder, allow_pickle=checkpoint.allow_pickle),
        annealed=is_annealed(checkpoint, checkpoint.phase, step),
        pretrain_seed=checkpoint.pretrain_seed,
    )


def _resolve_hub(checkpoint: Checkpoint, refs: RefCache) -> Resolved:
    repo = str(checkpoint.repo)
    known = refs.get(repo)
    try:
        found = _find_on_hub(checkpoint, known)
    except CheckpointError as error:
        try:
            known = refs.get(repo, refresh=True)  # it may have been uploaded since the refs were cached
        except HubUnreachable:
            raise error from None
        found = _find_on_hub(checkpoint, known)
    found = _identify(found, refs)
    if found.revision == "main" and checkpoint.final_step is not None:
        _check_alias(found, known, refs)
    return found


def _find_on_hub(checkpoint: Checkpoint, known: Sequence[Ref]) -> Resolved:
    """The revision that a checkpoint asks for; its weights are not known yet."""
    tokens: int | None = None
    step: int | None = None
    phase = checkpoint.phase
    if checkpoint.step is not None:
        revision = find_revision(checkpoint, known)
        name, commit, phase = revision.name, revision.commit, revision.phase
        step, tokens = revision.step, revision.tokens
    else:
        ref = find_named_revision(checkpoint, known)
        name, commit = ref.name, ref.commit
        named = next((r for r in parse_revisions(checkpoint, known) if r.name == name), None)
        if named is not None:
            phase, step, tokens = named.phase, named.step, named.tokens
        elif name == "main" and checkpoint.final_step is not None:
            phase, step = checkpoint.final_phase, checkpoint.final_step
            tokens = count_tokens(checkpoint, phase, step)
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=tokens,
        phase=phase,
        revision=name,
        commit=commit,
        hashes={},
        identity="",
        annealed=is_annealed(checkpoint, phase, step),
        pretrain_seed=checkpoint.pretrain_seed,
    )


def _identify(found: Resolved, refs: RefCache) -> Resolved:
    """Add the weights' hashes: from the Hub's records, or by downloading them where the Hub has none."""
    checkpoint, repo, commit = found.checkpoint, str(found.checkpoint.repo), str(found.commit)
    files = refs.files(repo, commit)
    names = [file.name for file in files]
    where = f"{repo} at {found.revision} ({commit[:12]})"
    weights = choose_weights(names, where, allow_pickle=checkpoint.allow_pickle)
    if any(file.sha256 is None for file in files if file.name in weights):
        files = _hash_after_download(repo, commit, files, weights, refs)
    hashes = {file.name: str(file.sha256) for file in files if file.name in weights}
    needed = {*weights, *choose_small(names)}
    return replace(
        found,
        hashes=hashes,
        identity=digest({"commit": commit, "weights": hashes}),
        files=tuple(file for file in files if file.name in needed),
    )


def _hash_after_download(
    repo: str, commit: str, files: tuple[HubFile, ...], weights: Sequence[str], refs: RefCache
) -> tuple[HubFile, ...]:
    log.info("%s has no SHA-256 of its weights on record: they are downloaded to compute it", repo)
    unknown = [file for file in files if file.name in weights and file.sha256 is None]
    folder = download(repo, commit, unknown)
    hashed = tuple(replace(f, sha256=hash_file(folder / f.name)) if f in unknown else f for f in files)
    refs.keep_files(repo, commit, hashed)
    return hashed


def _check_alias(main: Resolved, known: Sequence[Ref], refs: RefCache) -> None:
    """Raise when the step that the family says ``main`` is has a revision of its own with other weights."""
    checkpoint = main.checkpoint
    twins = [
        revision
        for revision in parse_revisions(checkpoint, known)
        if (revision.phase, revision.step) == (checkpoint.final_phase, checkpoint.final_step)
    ]
    for twin in twins:
        if twin.commit == main.commit:
            continue
        other = _identify(replace(main, revision=twin.name, commit=twin.commit), refs)
        if other.weights != main.weights:
            raise CheckpointError(
                f"checkpoint.final_step={checkpoint.final_step}: main and {twin.name} of {checkpoint.repo} have "
                "different weights, so that main is not this step; checkpoint.final_step=null treats them as two"
            )


def refuse_equal_weights(resolved: Sequence[Resolved]) -> None:
    """Raise when two different checkpoints of one grid have equal weights.

    It happens: 86 of the 154 step branches of one public model serve its final weights (Pythia, issue 205).
    The family's own alias is no error: ``main`` and the step it stands for (``final_step``) are one point.
    """
    seen: dict[str, Resolved] = {}
    for item in resolved:
        if item.weights is None:
            continue
        other = seen.setdefault(item.weights, item)
        if not are_one_point(other, item):
            raise CheckpointError(describe_equal_weights(other.name, item.name, item))


def are_one_point(one: Resolved, other: Resolved) -> bool:
    """Whether two checkpoints with equal weights may both be used: they are the same one, asked for twice."""
    if one.identity == other.identity and None in (one.step, other.step):
        return True  # a commit by its name and by its hash, or one folder's content in two places
    return one.step is not None and (one.phase, one.step) == (other.phase, other.step)


def describe_equal_weights(one: str, other: str, item: Resolved) -> str:
    """The message for two names of one set of weights."""
    return (
        f"{one} and {other} have equal weights (SHA-256 {next(iter(item.hashes.values()))[:16]}…): "
        "one of them is not what its name says"
    )


def hash_weights(folder: Path, *, allow_pickle: bool = False) -> dict[str, str]:
    """SHA-256 of the weight files of a local folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    chosen = choose_weights(names, f"checkpoint.path={folder}", allow_pickle=allow_pickle)
    return {name: hash_file(folder / name) for name in chosen}


def hash_folder(folder: Path, *, allow_pickle: bool = False) -> str:
    """Hash of everything that is loaded from a local folder: weights, configuration, tokenizer."""
    hashes = hash_weights(folder, allow_pickle=allow_pickle)
    names = [path.name for path in folder.iterdir() if path.is_file()]
    return digest({**{name: hash_file(folder / name) for name in choose_small(names)}, **hashes})


def locate(resolved: Resolved, cache_dir: str) -> Path:
    """Folder with the weights and the tokenizer; downloads them from the Hub if need be."""
    checkpoint = resolved.checkpoint
    if checkpoint.source == "ladder":
        assert resolved.step is not None
        return step_dir(find_ladder(checkpoint, cache_dir), resolved.step)
    if checkpoint.source == "path":
        return Path(str(checkpoint.path)).expanduser()
    return download(str(checkpoint.repo), str(resolved.commit), resolved.files)
