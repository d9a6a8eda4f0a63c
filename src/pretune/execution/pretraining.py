"""``stage=pretrain``: build the ladders that the given checkpoints' recipes describe, and show them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretune.checkpoints.ladders import is_built, ladder_dir, read_manifest
from pretune.config.running import TrainConfig
from pretune.config.schema import to_plain
from pretune.config.science import Recipe
from pretune.config.validation import WITHOUT_EFFECT
from pretune.errors import UsageError
from pretune.execution.display import ProgressDisplay, make_console
from pretune.execution.ladders import ensure_ladder
from pretune.execution.storage import check_cache
from pretune.execution.training import next_attempt
from pretune.results.identity import digest
from pretune.results.store import Study
from pretune.terminal import TextTable, print_table
from pretune.tracking import RunInfo, TrackedRun, flatten, open_tracker


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides that would silently do nothing."""
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        if key.startswith(WITHOUT_EFFECT):
            group = key.split(".")[0]
            raise UsageError(
                f"{text}: has no effect with stage=pretrain; the recipe is checkpoint.recipe "
                f"(for example checkpoint.recipe.{group if group in ('optimizer', 'seed') else 'stage'}…)"
            )


def build_ladders(configs: Sequence[TrainConfig]) -> int:
    """Build every ladder that is not there yet and print its steps; return the exit status."""
    console = make_console()
    recipes = {repr(config.checkpoint.recipe): config for config in configs}
    for cache_dir in {config.cache_dir for config in configs}:
        check_cache(cache_dir)
    for config in recipes.values():
        recipe = config.checkpoint.recipe
        assert recipe is not None
        folder = ladder_dir(config.cache_dir, recipe)
        before = is_built(folder)
        with ProgressDisplay(make_console(stderr=True), missing=1) as display, tracked(config, folder) as open_loggers:
            display.start_activity(f"pre-training the {config.checkpoint.family} ladder")
            ensure_ladder(recipe, config.cache_dir, config.trainer, on_step=display.step, open_loggers=open_loggers)
        manifest = read_manifest(folder)
        for line in describe_ladder(recipe, manifest):
            if isinstance(line, TextTable):
                print_table(console, line)
            else:
                console.print(line)
        how = "was built before" if before else f"built in {manifest['seconds']:.0f} s"
        console.print(f"{manifest['parameters']:,} parameters; {how}")
        console.print(f"Ladder: {folder}", soft_wrap=True)
    return 0


def describe_ladder(recipe: Recipe, manifest: Mapping[str, Any]) -> list[Any]:
    """What is shown of a ladder: a row for each checkpoint, and on real text how often the text was seen."""
    real = recipe.text != "pico"
    more = ["validation loss", "tokens per parameter", "epochs"] if real else []
    rows = []
    for step in recipe.stage.save_steps:
        tokens = step * recipe.stage.batch_size * recipe.stage.sequence_length
        cells = [str(step), f"{tokens:,}", show_loss(manifest["loss"].get(str(step)))]
        if real:
            cells += [
                show_loss(manifest["validation_loss"].get(str(step))),
                f"{tokens / manifest['parameters']:.0f}",
                f"{manifest['epochs'][str(step)]:.2f}",
            ]
        rows.append(cells)
    table = TextTable(head=("step", "tokens", "training loss", *more), rows=rows)
    if real and manifest["repeats_text"]:
        return [table, f"The longest run saw its {manifest['text_tokens']:,} tokens of text more than four times."]
    return [table]


def show_loss(value: float | None) -> str:
    """A loss, or nothing for the initialisation."""
    return "" if value is None else f"{value:.3f}"


@contextlib.contextmanager
def tracked(config: TrainConfig, folder: Path) -> Iterator[Callable[[], Sequence[Any]]]:
    """Yield a function that opens a tracked run for the ladder and returns its Lightning loggers."""
    study = Study(config.study_dir)
    tracker = open_tracker(config.logger, study.root)
    runs: list[TrackedRun] = []

    def open_loggers() -> Sequence[Any]:
        info = RunInfo(
            id=f"{digest(folder.name)[:16]}-{next_attempt(study.root, folder.name, resumed=True)}",
            name=folder.name,
            group=config.logger.group or "pretrain",
            job_type="pretrain",
            config=flatten(to_plain(config.checkpoint.recipe)),
            resume=any(folder.glob("*.ckpt")),
        )
        runs.append(tracker.start(info))
        return runs[0].loggers

    failed = True
    try:
        yield open_loggers
        failed = False
    finally:
        for run in runs:
            run.finish(failed=failed)
        tracker.close()
