"""Data sets of the Hub: read whole through its client's cache, or streamed in part with the rows kept.

A stream leaves nothing behind, so that its rows would have to come from the network again each time, and could not come
at all where there is none. The first rows of each stream are therefore kept beside the client's own cache.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pretune.checkpoints.hub import endpoint, patiently
from pretune.results.identity import digest, slug


def load_dataset(repo: str | None, config: str | None, *, split: str, streaming: bool = False, **how: Any) -> Any:
    """As ``datasets.load_dataset``, but patient with a busy Hub, and with streams that are kept."""
    import datasets

    if streaming:
        return KeptStream(repo=repo, config=config, split=split, how=how)
    return patiently(lambda: datasets.load_dataset(repo, config, split=split, **how))


@dataclass(frozen=True, kw_only=True)
class KeptStream:
    """The first rows of a split, streamed once."""

    repo: str | None
    config: str | None
    split: str
    how: dict[str, Any]

    @property
    def features(self) -> Any:
        """The columns and their types."""
        kept = self._kept()
        return self._read(kept[max(kept)]).features if kept else self._stream.features

    def take(self, count: int) -> Any:
        """The first ``count`` rows, or all there are."""
        enough = [kept for kept in sorted(self._kept()) if kept >= count]
        if not enough:
            self._keep(count)
            enough = [count]
        rows = self._read(self._path(enough[0]))
        return rows.select(range(min(count, len(rows))))

    @cached_property
    def _stream(self) -> Any:
        import datasets

        return patiently(
            lambda: datasets.load_dataset(self.repo, self.config, split=self.split, streaming=True, **self.how)
        )

    @property
    def _folder(self) -> Path:
        import datasets.config

        identity = digest([endpoint(), self.repo, self.config, self.split, sorted(self.how.items())])
        name = slug(str(self.repo).replace("/", "--"), self.config, self.split, identity[:12])
        return Path(datasets.config.HF_DATASETS_CACHE, "pretune-streams", name)

    def _path(self, count: int) -> Path:
        return self._folder / f"{count}.parquet"

    def _kept(self) -> dict[int, Path]:
        """What was kept, by the number of rows asked for."""
        return {int(path.stem): path for path in self._folder.glob("*.parquet") if path.stem.isdecimal()}

    def _keep(self, count: int) -> None:
        import datasets

        rows = patiently(lambda: list(self._stream.take(count)))
        table = datasets.Dataset.from_list(rows, features=self._stream.features)
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{uuid.uuid4().hex}"
        try:
            table.to_parquet(temporary)
            os.replace(temporary, self._path(count))
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, path: Path) -> Any:
        import datasets
        import pyarrow.parquet as pq

        return datasets.Dataset(pq.read_table(path))


def bytes_to_download(repo: str, config: str | None, **how: Any) -> int:
    """Size of the files of a data set's configuration that are not in the cache; 0 when it was read before."""
    from datasets import load_dataset_builder
    from huggingface_hub import HfApi, try_to_load_from_cache

    builder = patiently(lambda: load_dataset_builder(repo, config, **how))
    if Path(builder.cache_dir, "dataset_info.json").is_file():
        return 0
    prefix = f"hf://datasets/{repo}@"
    located = [url.removeprefix(prefix) for files in (builder.config.data_files or {}).values() for url in files]
    wanted: dict[str, list[str]] = {}
    for place in located:
        commit, _, path = place.partition("/")
        if not isinstance(try_to_load_from_cache(repo, path, revision=commit, repo_type="dataset"), str):
            wanted.setdefault(commit, []).append(path)
    return sum(
        entry.size
        for commit, paths in wanted.items()
        for entry in HfApi().get_paths_info(repo, paths, repo_type="dataset", revision=commit)
        if hasattr(entry, "size")
    )
