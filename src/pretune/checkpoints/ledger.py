"""Which weights a study has computed with: no two names for one set of weights, and no name for two.

One file for each revision, under the study; whoever computes with a checkpoint enters it first::

    <study_dir>/checkpoints/<owner>--<name>@<revision>-<hash8>.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretune.checkpoints.resolution import Resolved, are_one_point, describe_equal_weights
from pretune.errors import CheckpointError
from pretune.results.identity import digest, slug
from pretune.results.store import Study, write_atomically


class WeightLedger:
    """The weights of a study's checkpoints, by name, across all its commands."""

    def __init__(self, study: Study) -> None:
        self._folder = study.root / "checkpoints"

    def enter(self, resolved: Resolved) -> None:
        """Note that the study computes with ``resolved``, unless :meth:`check` refuses it."""
        if resolved.weights is None or resolved.revision is None:
            return  # ladders are their recipe, folders their content: their names cannot lie
        self.check(resolved)
        entry = {
            "name": resolved.name,
            "commit": resolved.commit,
            "phase": resolved.phase,
            "step": resolved.step,
            "weights": resolved.weights,
            "identity": resolved.identity,
            "hashes": dict(resolved.hashes),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(resolved), json.dumps(entry, indent=1).encode())

    def check(self, resolved: Resolved) -> None:
        """Raise :class:`~pretune.errors.CheckpointError` for what contradicts an earlier command of the study.

        That one used the same weights under another name, or other weights under this one.
        """
        path = self._path(resolved)
        for other_path, entry in self._entries():
            if other_path == path:
                if entry["weights"] == resolved.weights:
                    continue
                raise CheckpointError(
                    f"{resolved.name} has other weights than when this study first used it (commit "
                    f"{str(entry['commit'])[:12]} then, {str(resolved.commit)[:12]} now); go on with "
                    f"checkpoint.step=null checkpoint.revision={entry['commit']}, or begin another study_dir"
                )
            if entry["weights"] == resolved.weights and not are_one_point(_recall(entry, resolved), resolved):
                raise CheckpointError(
                    describe_equal_weights(str(entry["name"]), resolved.name, resolved)
                    + f". The former was used by an earlier command of this study ({other_path}); if its cells are "
                    "to go, remove them and this file"
                )

    def _path(self, resolved: Resolved) -> Path:
        return self._folder / f"{slug(resolved.name.replace('/', '--'))}-{digest(resolved.name)[:8]}.json"

    def _entries(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in sorted(self._folder.glob("[!.]*.json")):
            try:
                entry = json.loads(path.read_text())
                entry["weights"], entry["name"], entry["commit"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged, or removed meanwhile: it is written again when it is used
            yield path, entry


def _recall(entry: dict[str, Any], like: Resolved) -> Resolved:
    """The checkpoint of an entry, as far as the comparison needs it."""
    return replace(like, phase=str(entry.get("phase")), step=entry.get("step"), identity=str(entry.get("identity")))
