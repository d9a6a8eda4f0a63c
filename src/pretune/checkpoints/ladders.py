"""Ladders: series of checkpoints that this project trains itself, identified by their recipe.

::

    <cache_dir>/ladders/<text>-<model>-<hash12>/   step0/  step16/  …   SHA256SUMS   ladder.json (written last)
                                                   heldout/ (real text kept out of training)

A checkpoint of a ladder names its recipe, or (``checkpoint.path``) the folder of a trained ladder; either way it is
the same checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

from pretune.config.schema import freeze
from pretune.config.science import Checkpoint, Recipe
from pretune.errors import CheckpointError, DamagedFile, PretuneError
from pretune.results.checksums import find_damaged, read_sums
from pretune.results.identity import describe_recipe, digest
from pretune.results.store import write_atomically

log = logging.getLogger(__name__)

LOSSES = "losses.json"
"""Losses of the checkpoints that an unfinished ladder on real text has."""
TEXT_SUFFIXES = (".jsonl", ".parquet", ".txt")


def identify_recipe(recipe: Recipe) -> dict[str, Any]:
    """Identity of the ladder that ``recipe`` trains; text in a folder is identified by content."""
    content = hash_text(str(recipe.corpus.path)) if recipe.text == "folder" else None
    return describe_recipe(recipe, content=content)


def list_text_files(folder: str) -> list[Path]:
    """Text files below a folder, in the order in which they are read."""
    root = Path(folder).expanduser()
    found = sorted(path for path in root.rglob("*") if path.suffix in TEXT_SUFFIXES and path.is_file())
    if not found:
        raise CheckpointError(f"checkpoint.recipe.corpus.path={folder}: no {', '.join(TEXT_SUFFIXES)} files there")
    return found


@functools.cache
def hash_text(folder: str) -> str:
    """Hash of the text files below a folder: their content and order, not their place. Read once per process."""
    hashed = hashlib.sha256()
    root = Path(folder).expanduser()
    for path in list_text_files(folder):
        hashed.update(f"{path.relative_to(root).as_posix()}\n".encode())
        with open(path, "rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()


def ladder_name(recipe: Recipe) -> str:
    """Folder name of a ladder: readable part and hash of its recipe."""
    return f"{recipe.text}-{recipe.model.name}-{digest(identify_recipe(recipe))[:12]}"


def ladder_dir(cache_dir: str | Path, recipe: Recipe) -> Path:
    """Folder of the ladder that ``recipe`` trains."""
    return Path(cache_dir).expanduser().absolute() / "ladders" / ladder_name(recipe)


def find_ladder(checkpoint: Checkpoint, cache_dir: str | Path) -> Path:
    """Folder of the ladder that a ``source=ladder`` checkpoint belongs to, trained or not."""
    if checkpoint.path is not None:
        return Path(checkpoint.path).expanduser().absolute()
    return ladder_dir(cache_dir, recipe_of(checkpoint))


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """Recipe of a ``source=ladder`` checkpoint, as configured or from the manifest of its folder."""
    if checkpoint.path is not None:
        return freeze(Recipe, read_manifest(Path(checkpoint.path).expanduser())["recipe"])
    assert checkpoint.recipe is not None
    return checkpoint.recipe


def identify_ladder(checkpoint: Checkpoint) -> dict[str, Any]:
    """Identity of a checkpoint's ladder: as its recipe has it, or as the manifest of a trained one says."""
    if checkpoint.path is not None:
        identity: dict[str, Any] = read_manifest(Path(checkpoint.path).expanduser())["identity"]
        return identity
    return identify_recipe(recipe_of(checkpoint))


def is_built(folder: Path) -> bool:
    """Whether the ladder is complete."""
    return (folder / "ladder.json").is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The ladder's manifest: recipe, identity, parameters, training loss at each step, time and threads."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "ladder.json").read_text())
    except ValueError as error:
        raise PretuneError(
            f"{folder / 'ladder.json'} is damaged ({error}); delete the folder to build it again"
        ) from None
    return manifest


def set_aside_rungs(folder: Path) -> None:
    """Move the damaged checkpoints of a ladder out of the way and declare it incomplete, so that it is built again.

    Building writes the checkpoints that are missing; the losses of a ladder on real text are kept for that.
    """
    try:
        sums = read_sums(folder) or {}
        damaged = find_damaged(folder, {name: found for name, found in sums.items() if name.startswith("step")})
        rungs = sorted({path.relative_to(folder).parts[0] for path in damaged})
    except DamagedFile:  # nothing can be told of any
        rungs = sorted(path.name for path in folder.glob("step*") if path.is_dir())
    for rung in rungs:
        aside = folder / f"damaged-{rung}-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder / rung, aside)
            log.warning("%s was damaged: set aside as %s", folder / rung, aside)
    with contextlib.suppress(FileNotFoundError):
        manifest = read_manifest(folder)
        if validation := manifest.get("validation_loss"):
            losses = {
                step: {"train": manifest["loss"][step], "validation": value} for step, value in validation.items()
            }
            write_atomically(folder / LOSSES, json.dumps(losses).encode())
        (folder / "ladder.json").unlink()


def heldout_dir(folder: Path) -> Path:
    """Folder of the documents that a ladder on real text kept out of training, as rows of a task."""
    return folder / "heldout"


def step_dir(folder: Path, step: int) -> Path:
    """Folder of one checkpoint of a ladder."""
    return folder / f"step{step}"
