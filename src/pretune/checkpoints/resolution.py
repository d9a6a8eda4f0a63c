"""From a checkpoint as asked for to weights with a proven identity."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretune.checkpoints.hub import FILES_TO_LOAD, RefCache, download_weights
from pretune.checkpoints.ladders import ladder_dir, step_dir
from pretune.checkpoints.revisions import find_named_revision, find_revision, parse_revisions
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError
from pretune.results.identity import describe_recipe, digest


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
    annealed: bool | None = None
    pretrain_seed: int | None = None


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
    return digest(hash_weights(folder))[:6]


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
    assert checkpoint.recipe is not None
    if checkpoint.step not in checkpoint.recipe.stage.save_steps:
        steps = ", ".join(map(str, checkpoint.recipe.stage.save_steps))
        raise CheckpointError(f"checkpoint.step={checkpoint.step}: name a step of the ladder; valid: {steps}")
    step = int(checkpoint.step)
    stage = checkpoint.recipe.stage
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=step * stage.batch_size * stage.sequence_length,
        phase=checkpoint.phase,
        revision=None,
        commit=None,
        hashes={},
        identity=digest({"recipe": describe_recipe(checkpoint.recipe), "step": step}),
        annealed=stage.schedule != "constant" and checkpoint.step == stage.save_steps[-1],
        pretrain_seed=checkpoint.recipe.seed,
    )


def _resolve_path(checkpoint: Checkpoint) -> Resolved:
    folder = Path(str(checkpoint.path)).expanduser()
    hashes = hash_weights(folder)
    step = checkpoint.step if isinstance(checkpoint.step, int) else None
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=_tokens(checkpoint, step),
        phase=checkpoint.phase,
        revision=None,
        commit=None,
        hashes=hashes,
        identity=hash_folder(folder),
        annealed=checkpoint.annealed,
    )


def _resolve_hub(checkpoint: Checkpoint, refs: RefCache) -> Resolved:
    repo = str(checkpoint.repo)
    known = refs.get(repo)
    if checkpoint.step is not None:
        try:
            revision = find_revision(checkpoint, known)
        except CheckpointError:
            known = refs.get(repo, refresh=True)  # the step may have been uploaded since the refs were cached
            revision = find_revision(checkpoint, known)
        name, commit, phase = revision.name, revision.commit, revision.phase
        step: int | None = revision.step
        tokens = revision.tokens
    else:
        ref = find_named_revision(checkpoint, known)
        name, commit, phase = ref.name, ref.commit, checkpoint.phase
        named = {r.name: r for r in parse_revisions(checkpoint, known)}
        step = named[name].step if name in named else checkpoint.final_step if name == "main" else None
        tokens = named[name].tokens if name in named else _tokens(checkpoint, step)
    hashes = refs.weight_hashes(repo, commit)
    return Resolved(
        checkpoint=checkpoint,
        label=label_of(checkpoint),
        step=step,
        tokens=tokens,
        phase=phase,
        revision=name,
        commit=commit,
        hashes=hashes,
        identity=digest({"commit": commit, "weights": hashes}),
        annealed=checkpoint.annealed,
    )


def _tokens(checkpoint: Checkpoint, step: int | None) -> int | None:
    return None if step is None or checkpoint.tokens_per_step is None else step * checkpoint.tokens_per_step


def refuse_equal_weights(resolved: Sequence[Resolved]) -> None:
    """Raise when two different checkpoints of one grid have equal weights.

    It happens: 86 of the 154 step branches of one public model serve its final weights (Pythia, issue 205).
    The family's own alias is no error: ``main`` and the step it stands for (``final_step``) are one point.
    """
    seen: dict[str, Resolved] = {}
    for item in resolved:
        if not item.hashes:
            continue
        other = seen.setdefault(digest(item.hashes), item)
        if other.identity == item.identity and other.step == item.step:
            continue  # one point asked for twice, or one folder's content in two places
        if other.step is None or other.step != item.step:
            raise CheckpointError(
                f"{other.label} and {item.label} of {item.checkpoint.repo or item.checkpoint.path} have equal weights "
                f"(SHA-256 {next(iter(item.hashes.values()))[:16]}…): one of them is not what its name says"
            )


def hash_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of the safetensors files of a local folder."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"checkpoint.path={folder}: no safetensors weights; pickled weights are not loaded")
    hashes = {}
    for path in files:
        with open(path, "rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def hash_folder(folder: Path) -> str:
    """Hash of everything that is loaded from a local folder: weights, configuration, tokenizer."""
    hashes = hash_weights(folder)
    for pattern in FILES_TO_LOAD:
        for path in sorted(folder.glob(pattern)):
            if path.name not in hashes:
                with open(path, "rb") as file:
                    hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest(hashes)


def locate(resolved: Resolved, cache_dir: str) -> Path:
    """Folder with the weights and the tokenizer; downloads them from the Hub if need be."""
    checkpoint = resolved.checkpoint
    if checkpoint.source == "ladder":
        assert checkpoint.recipe is not None
        assert resolved.step is not None
        return step_dir(ladder_dir(cache_dir, checkpoint.recipe), resolved.step)
    if checkpoint.source == "path":
        return Path(str(checkpoint.path)).expanduser()
    return download_weights(str(checkpoint.repo), str(resolved.commit), resolved.hashes)
