"""Small frozen configurations, and ways to change one field of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from pretune.config.running import Eval, Logger, TrainConfig, Trainer
from pretune.config.schema import freeze, register
from pretune.config.science import Checkpoint, Format, Model, Optimizer, Recipe, Stage, Task, Template

CONF = Path(__file__).parents[2] / "conf"

RECIPE = Recipe(
    model=Model(hidden_size=16, intermediate_size=32, layers=1, heads=2, context_length=64),
    stage=Stage(name="pretrain", batch_size=4, sequence_length=16, schedule="constant", save_steps=(0, 2, 5)),
    optimizer=Optimizer(lr=1e-3),
)
HUB = Checkpoint(
    repo="owner/model",
    pattern=r"step(?P<step>\d+)-tokens(?P<tokens>\d+)B",
    step=1000,
    tokens_per_step=4_194_304,
    final_step=738_020,
)
LADDER = Checkpoint(source="ladder", family="pico", step=2, recipe=RECIPE)
NLI = Task(
    name="nli",
    family="nli",
    repo="owner/nli",
    fields={"premise": "premise", "hypothesis": "hypothesis"},
    label="label",
    labels={"0": "entailment", "1": "neutral", "2": "contradiction"},
    in_domain=("nli",),
)
FORMAT = Format(
    name="default",
    templates={"nli": Template(prompt="one : {premise} two : {hypothesis} relation :", body="premise")},
)
CONFIG = TrainConfig(
    checkpoint=HUB,
    task=NLI,
    format=FORMAT,
    trainer=Trainer(precision="32-true", accelerator="cpu", threads=1),
    logger=Logger(name="none"),
    eval=Eval(limit=8),
)


def change(value: Any, key: str, new: Any) -> Any:
    """A copy of a frozen value whose field at the dotted ``key`` (through mappings too) is ``new``."""
    name, _, rest = key.partition(".")
    if isinstance(value, dict):
        return {**value, name: change(value[name], rest, new) if rest else new}
    return dataclasses.replace(value, **{name: change(getattr(value, name), rest, new) if rest else new})


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every field that is no dataclass itself; mappings of dataclasses are entered."""
    for field in dataclasses.fields(value):
        item, key = getattr(value, field.name), prefix + field.name
        if dataclasses.is_dataclass(item):
            yield from leaves(item, f"{key}.")
        elif isinstance(item, dict) and any(dataclasses.is_dataclass(inner) for inner in item.values()):
            for name, inner in item.items():
                yield from leaves(inner, f"{key}.{name}.")
        else:
            yield key, item


def option_names(group: str) -> list[str]:
    """Options of a config group, those in sub-folders included."""
    return sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml"))


@contextmanager
def config_loader() -> Iterator[Any]:
    """The config loader of a Hydra that looks into ``conf``, as a script has it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    GlobalHydra.instance().clear()


def read_option(group: str, name: str, cls: type) -> Any:
    """The frozen value of one YAML file, over the option of the same group that it extends, if any."""
    return freeze(cls, OmegaConf.create(merged(group, name)))


def merged(group: str, name: str) -> dict[str, Any]:
    """Content of an option with what it extends below it."""
    own = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    values: dict[str, Any] = {}
    for default in own.pop("defaults", ["_self_"]):
        values |= own if default == "_self_" else merged(group, default.split("@")[0].removeprefix(f"/{group}/"))
    return values
