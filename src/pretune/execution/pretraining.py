"""``stage=pretrain``: build the ladders that the given checkpoints' recipes describe, and show them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pretune.checkpoints.ladders import is_built, ladder_dir, read_manifest
from pretune.config.running import TrainConfig
from pretune.config.validation import WITHOUT_EFFECT
from pretune.errors import UsageError
from pretune.execution.display import ProgressDisplay, make_console
from pretune.execution.ladders import ensure_ladder


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
    for config in recipes.values():
        recipe = config.checkpoint.recipe
        assert recipe is not None
        folder = ladder_dir(config.cache_dir, recipe)
        before = is_built(folder)
        with ProgressDisplay(make_console(stderr=True), missing=1) as display:
            display.start_activity(f"pre-training the {config.checkpoint.family} ladder")
            ensure_ladder(recipe, config.cache_dir, config.trainer, on_step=display.step)
        manifest = read_manifest(folder)
        table = Table("step", "tokens", "training loss", show_edge=False, pad_edge=False, header_style="bold")
        for step in recipe.stage.save_steps:
            loss = manifest["loss"].get(str(step))
            tokens = step * recipe.stage.batch_size * recipe.stage.sequence_length
            table.add_row(str(step), f"{tokens:,}", "" if loss is None else f"{loss:.3f}")
        console.print(table)
        how = "was built before" if before else f"built in {manifest['seconds']:.0f} s"
        console.print(f"{manifest['parameters']:,} parameters; {how}")
        console.print(f"Ladder: {folder}")
    return 0
