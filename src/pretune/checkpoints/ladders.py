"""Ladders: series of checkpoints that this project trains itself, identified by their recipe.

::

    <cache_dir>/ladders/<text>-<model>-<hash12>/   ladder.json (written last)   step0/  step16/  …
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pretune.config.science import Recipe
from pretune.errors import PretuneError
from pretune.results.identity import describe_recipe, digest


def ladder_name(recipe: Recipe) -> str:
    """Folder name of a ladder: readable part and hash of its recipe."""
    return f"{recipe.text}-{recipe.model.name}-{digest(describe_recipe(recipe))[:12]}"


def ladder_dir(cache_dir: str | Path, recipe: Recipe) -> Path:
    """Folder of the ladder that ``recipe`` trains."""
    return Path(cache_dir).expanduser().absolute() / "ladders" / ladder_name(recipe)


def is_built(folder: Path) -> bool:
    """Whether the ladder is complete."""
    return (folder / "ladder.json").is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The ladder's manifest: recipe, parameters, training loss at each step, time and threads."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "ladder.json").read_text())
    except ValueError as error:
        raise PretuneError(
            f"{folder / 'ladder.json'} is damaged ({error}); delete the folder to build it again"
        ) from None
    return manifest


def step_dir(folder: Path, step: int) -> Path:
    """Folder of one checkpoint of a ladder."""
    return folder / f"step{step}"
