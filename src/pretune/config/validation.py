"""Checks of a composed configuration: every problem found is reported in one message."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pretune.config.probing import LAYER, TENSORS, ProbeConfig
from pretune.config.running import EvaluateConfig, ReportConfig, Search, TrainConfig
from pretune.config.schema import walk
from pretune.config.science import GENERATE, HELD_OUT, Checkpoint, Recipe, Regularizer, Stage, Task
from pretune.config.sharing import check_strategy
from pretune.config.wording import check_patterns, check_repository
from pretune.errors import ConfigError, Problem, suggest

ScriptConfig = TrainConfig | EvaluateConfig | ProbeConfig | ReportConfig

WITHOUT_EFFECT = ("stage.", "optimizer", "task", "format", "regularizer", "eval", "seed", "experiment")
"""Overrides that a pre-training does not look at: its recipe is under ``checkpoint.recipe``."""

WITH_STRENGTH = ("l2sp", "ewc", "replay", "sam")
"""Regularizers that have a strength."""

PRETRAIN_MODES = ("run", "checkpoints")
"""What can be done with ladders that are still to be trained."""
STEP_CHOICE = re.compile(r"all|every:[1-9]\d*")


def validate(configs: Sequence[ScriptConfig], *, origins: Sequence[str] = ()) -> None:
    """Raise one :class:`ConfigError` with every distinct problem of all ``configs``, if there is any.

    ``origins`` say where each comes from, if it is not the command line.
    """
    problems: dict[tuple[str, str], Problem] = {}
    for config, origin in zip(configs, origins or [""] * len(configs), strict=True):
        for problem in find_problems(config):
            if origin:
                problem = replace(problem, message=f"{problem.message} ({origin})")
            problems.setdefault((problem.key, f"{problem.value} {problem.message}"), problem)
    if problems:
        raise ConfigError(list(problems.values()))


def find_problems(config: ScriptConfig) -> list[Problem]:
    """List everything wrong with one configuration: values out of range, then contradictions."""
    problems = list(_check_rules(config))
    problems += _check_study_dir(config.study_dir)
    if not isinstance(config, ReportConfig):
        problems += check_strategy(config)
        problems += check_patterns(config.format)
    if isinstance(config, TrainConfig | EvaluateConfig):
        problems += _check_scorer(config)
    if isinstance(config, TrainConfig):
        problems += _check_checkpoint(config.checkpoint)
        problems += _check_phase(config)
        problems += _check_task_source(config.task)
        problems += _check_train(config)
    elif isinstance(config, ProbeConfig):
        problems += _check_probe(config)
    elif isinstance(config, EvaluateConfig):
        if config.run is None:
            problems += _check_checkpoint(config.checkpoint)
            problems += _check_phase(config)
        problems += _check_task_source(config.task)
        problems += _check_shots(config)
    return problems


def _check_rules(config: ScriptConfig) -> Iterable[Problem]:
    for key, value, rule in walk(config):
        if value is None:
            continue
        if rule.nonempty and len(value) == 0:
            yield Problem(key=key, value=repr(value), message="must not be empty")
        for item in value if isinstance(value, tuple) else (value,):
            if rule.choices and item not in rule.choices:
                yield Problem(key=key, value=item, message=suggest(str(item), rule.choices))
            if isinstance(item, float) and not math.isfinite(item):
                yield Problem(key=key, value=item, message="must be a finite number")
            elif isinstance(item, int | float) and not isinstance(item, bool):
                if rule.above is not None and not item > rule.above:
                    yield Problem(key=key, value=item, message=f"must be greater than {rule.above:g}")
                if rule.minimum is not None and not item >= rule.minimum:
                    yield Problem(key=key, value=item, message=f"must be at least {rule.minimum:g}")
                if rule.maximum is not None and not item <= rule.maximum:
                    yield Problem(key=key, value=item, message=f"must be at most {rule.maximum:.12g}")


def _check_study_dir(study_dir: str) -> Iterable[Problem]:
    """A study folder must be creatable and writable, or exist and be both."""
    path = Path(study_dir).expanduser()
    existing = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    if not existing.is_dir():
        what = "is a file, not a folder" if existing == path else f"cannot be created: {existing} is a file"
        yield Problem(key="study_dir", value=study_dir, message=what)
    elif not _is_writable(existing):
        yield Problem(key="study_dir", value=study_dir, message=f"cannot be written: {existing} is not writable")


def _is_writable(folder: Path) -> bool:
    """Try it: access bits say nothing for root or on a read-only mount."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_checkpoint(checkpoint: Checkpoint) -> Iterable[Problem]:
    step, source = checkpoint.step, checkpoint.source
    yield from check_repository("checkpoint.repo", checkpoint.repo)
    if isinstance(step, str) and not STEP_CHOICE.fullmatch(step):
        yield Problem(key="checkpoint.step", value=step, message="must be a number, 'all' or 'every:N' with N ≥ 1")
    if isinstance(step, int) and step < 0:
        yield Problem(key="checkpoint.step", value=step, message="must be at least 0")
    if source == "hub" and not checkpoint.repo:
        yield Problem(key="checkpoint.repo", value=checkpoint.repo, message="checkpoint.source=hub needs a repository")
    if source == "path" and not checkpoint.path:
        yield Problem(key="checkpoint.path", value=checkpoint.path, message="checkpoint.source=path needs a folder")
    if source == "path" and checkpoint.path and not (Path(checkpoint.path).expanduser() / "config.json").is_file():
        yield Problem(key="checkpoint.path", value=checkpoint.path, message="no such folder, or no config.json in it")
    if source == "path" and isinstance(step, str) and STEP_CHOICE.fullmatch(step):
        yield Problem(key="checkpoint.step", value=step, message="a folder holds one checkpoint, not a family")
    if source == "ladder" and checkpoint.recipe is None and checkpoint.path is None:
        yield Problem(key="checkpoint.path", value=None, message="give the folder of a trained ladder, or a recipe")
    if source == "ladder" and checkpoint.path and not (Path(checkpoint.path).expanduser() / "ladder.json").is_file():
        yield Problem(key="checkpoint.path", value=checkpoint.path, message="no such folder, or no ladder.json in it")
    if source == "hub" and checkpoint.path:
        yield Problem(key="checkpoint.path", value=checkpoint.path, message="contradicts checkpoint.source=hub")
    if checkpoint.revision and step is not None:
        yield Problem(
            key="checkpoint.step",
            value=step,
            message=f"contradicts checkpoint.revision={checkpoint.revision}: give one",
        )
    if checkpoint.pattern:
        try:
            re.compile(checkpoint.pattern)
        except re.error as error:
            yield Problem(
                key="checkpoint.pattern", value=checkpoint.pattern, message=f"not a regular expression: {error}"
            )
    elif source == "hub" and step is not None:
        yield Problem(
            key="checkpoint.step", value=step, message="needs checkpoint.pattern; give checkpoint.revision instead"
        )
    for change in checkpoint.batch_changes:
        if not change.isdecimal():
            yield Problem(key="checkpoint.batch_changes", value=change, message="must name a step number")
    if checkpoint.recipe is not None:
        yield from _check_schedule(checkpoint.recipe.stage, "checkpoint.recipe.stage")
        yield from _check_recipe_step(checkpoint)
        yield from _check_corpus(checkpoint.recipe)


def _check_phase(config: TrainConfig | EvaluateConfig) -> Iterable[Problem]:
    """A phase without a step would do nothing, except where steps are listed."""
    checkpoint = config.checkpoint
    unused = checkpoint.step is None and checkpoint.pattern is not None and config.mode != "checkpoints"
    if checkpoint.source == "hub" and checkpoint.phase != "main" and unused:
        yield Problem(
            key="checkpoint.phase", value=checkpoint.phase, message="needs checkpoint.step (a number, all or every:N)"
        )


def _check_recipe_step(checkpoint: Checkpoint) -> Iterable[Problem]:
    assert checkpoint.recipe is not None
    steps = checkpoint.recipe.stage.save_steps
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0 or steps[-1] < 1:
        yield Problem(
            key="checkpoint.recipe.stage.save_steps",
            value=list(steps),
            message="must be increasing step numbers, the last at least 1",
        )
    elif isinstance(checkpoint.step, int) and checkpoint.step not in steps:
        nearest = sorted(steps, key=lambda s: abs(s - int(checkpoint.step or 0)))[:2]
        yield Problem(
            key="checkpoint.step",
            value=checkpoint.step,
            message=f"the ladder has no such step; nearest: {', '.join(map(str, sorted(nearest)))}; "
            f"valid: {', '.join(map(str, steps))}",
        )
    model = checkpoint.recipe.model
    if model.heads > 0 and model.hidden_size % (2 * model.heads):
        yield Problem(
            key="checkpoint.recipe.model.heads",
            value=model.heads,
            message=f"hidden_size {model.hidden_size} must be a multiple of 2 × heads",
        )


def _check_corpus(recipe: Recipe) -> Iterable[Problem]:
    """Real text must be named, and be there if it is in a folder; windows are as long as the model's context."""
    corpus, key = recipe.corpus, "checkpoint.recipe.corpus"
    yield from check_repository(f"{key}.repo", corpus.repo)
    if recipe.text == "folder" and not (corpus.path and Path(corpus.path).expanduser().is_dir()):
        what = "no such folder" if corpus.path else "checkpoint.recipe.text=folder needs a folder of text"
        yield Problem(key=f"{key}.path", value=corpus.path, message=what)
    model, stage = recipe.model, recipe.stage
    if recipe.text != "pico" and model.context_length != stage.sequence_length:
        yield Problem(
            key="checkpoint.recipe.stage.sequence_length",
            value=stage.sequence_length,
            message=f"differs from model.context_length={model.context_length}: later positions would be evaluated, "
            "but never trained",
        )
    if recipe.text == "hub" and not corpus.repo:
        yield Problem(key=f"{key}.repo", value=corpus.repo, message="checkpoint.recipe.text=hub needs a data set")


def _check_task_source(task: Task) -> Iterable[Problem]:
    yield from _check_splits(task)
    yield from check_repository("task.repo", task.repo)
    if task.source == "path" and not task.path:
        yield Problem(key="task.path", value=task.path, message="task.source=path needs a folder")
    if task.source == "path" and task.path and not Path(task.path).expanduser().is_dir():
        yield Problem(key="task.path", value=task.path, message="no such folder")
    if task.source == "hub" and task.path:
        yield Problem(key="task.path", value=task.path, message="contradicts task.source=hub; give task.source=path")


def _check_shots(config: EvaluateConfig) -> Iterable[Problem]:
    task = config.task
    if config.shots and config.suite is None and task.answer == "chat":
        yield Problem(key="shots", value=config.shots, message=f"task={task.name} holds conversations, which have none")
    elif config.shots and config.suite is None and task.train_split is None and task.answer != "language":
        yield Problem(
            key="shots", value=config.shots, message=f"task={task.name} has no training split to take shots from"
        )


def _check_scorer(config: TrainConfig | EvaluateConfig) -> Iterable[Problem]:
    task = config.task
    if task.answer == "classification" and task.scorer == GENERATE and not config.eval.decode:
        yield Problem(key="task.scorer", value=task.scorer, message="needs eval.decode=true for classification")


def _check_schedule(stage: Stage, key: str) -> Iterable[Problem]:
    if stage.schedule == "wsd" and stage.warmup_ratio + stage.decay_ratio > 1:
        yield Problem(
            key=f"{key}.decay_ratio",
            value=stage.decay_ratio,
            message=f"together with warmup_ratio={stage.warmup_ratio:g} it is more than all steps",
        )


def _check_regularizer(regularizer: Regularizer) -> Iterable[Problem]:
    name, strength = regularizer.name, regularizer.strength
    if name not in WITH_STRENGTH and strength > 0:
        yield Problem(key="regularizer.strength", value=strength, message=f"has no effect with regularizer={name}")
    if name in WITH_STRENGTH and strength == 0:
        yield Problem(key="regularizer.strength", value=strength, message=f"regularizer={name} needs one above 0")
    if name == "replay" and strength >= 1:
        yield Problem(key="regularizer.strength", value=strength, message="is a share of the loss: must be below 1")


def _check_probe(config: ProbeConfig) -> Iterable[Problem]:
    probe = config.probe
    if config.run is None:
        yield from _check_checkpoint(config.checkpoint)
    for selector in probe.tensors:
        if selector not in TENSORS and not re.fullmatch(LAYER, selector):
            yield Problem(key="probe.tensors", value=selector, message=suggest(selector, (*TENSORS, "layer:N")))
    if probe.name == "interpolate" and config.run is None:
        yield Problem(key="probe", value="interpolate", message="needs run=RUN_ID: the line leads to tuned weights")
    if probe.name == "format" and not config.tasks:
        yield Problem(key="tasks", value="[]", message="probe=format needs tasks=[…] whose wording is varied")
    if probe.name == "format" and len(set(probe.formats)) + probe.paraphrases < 2:
        yield Problem(key="probe.paraphrases", value=probe.paraphrases, message="one wording alone has no spread")
    if config.text is None and config.run is None and config.checkpoint.pretraining_text is None:
        yield Problem(key="text", value=None, message="the checkpoint names no pre-training text: give text=TASK")


def _check_splits(task: Task) -> Iterable[Problem]:
    """Rows that are trained on, chosen on and evaluated must be different ones, and have labels."""
    train, validation, evaluation = (
        set((split or "").split("+")) - {""} for split in (task.train_split, task.validation_split, task.eval_split)
    )
    if train & evaluation:
        yield Problem(key="task.eval_split", value=task.eval_split, message="is the training split (task.train_split)")
    if validation & (train | evaluation):
        yield Problem(
            key="task.validation_split", value=task.validation_split, message="is also the training or evaluated split"
        )
    if task.eval_split == HELD_OUT and task.train_split is None:
        yield Problem(key="task.eval_split", value=HELD_OUT, message="needs task.train_split, whose rows are held out")
    if task.source != "hub" or not task.labelled_splits:
        return
    for key, splits in (("train_split", train), ("validation_split", validation), ("eval_split", evaluation)):
        unknown = sorted(splits - {*task.labelled_splits, HELD_OUT})
        if unknown:
            listed = ", ".join(task.labelled_splits)
            yield Problem(
                key=f"task.{key}",
                value="+".join(unknown),
                message=f"task={task.name} has no labels there, or no such split; labelled: {listed}",
            )


def _check_search(search: Search) -> Iterable[Problem]:
    if not all(0 < lr < math.inf for lr in search.lr):
        return  # said by the rule of the key
    if len(search.lr) != 2 or not search.lr[0] < search.lr[1]:
        yield Problem(key="search.lr", value=list(search.lr), message="must be two rates, the lower one first")


def _check_train(config: TrainConfig) -> Iterable[Problem]:
    if config.stage.name == "pretrain":
        if config.checkpoint.source != "ladder":
            yield Problem(
                key="stage",
                value="pretrain",
                message="needs a checkpoint with a recipe (checkpoint=pico); "
                f"checkpoint.source={config.checkpoint.source} has none",
            )
        if config.mode not in PRETRAIN_MODES:
            listed = ", ".join(PRETRAIN_MODES)
            yield Problem(key="mode", value=config.mode, message=f"does not go with stage=pretrain; valid: {listed}")
        return
    yield from _check_schedule(config.stage, "stage")
    yield from _check_regularizer(config.regularizer)
    yield from _check_search(config.search)
    if config.task.train_split is None:
        yield Problem(key="task", value=config.task.name, message="has no training split; it can only be evaluated")
    chats = config.task.answer == "chat"
    if chats != (config.stage.name == "instruct"):
        message = (
            f"task={config.task.name} holds conversations; give stage=instruct"
            if chats
            else f"trains on conversations; task={config.task.name} has none: give stage=sft"
        )
        yield Problem(key="stage", value=config.stage.name, message=message)
    context = config.checkpoint.context_length
    if context is not None and config.stage.max_length > context:
        yield Problem(
            key="stage.max_length",
            value=config.stage.max_length,
            message=f"is longer than the pre-training's sequences (checkpoint.context_length={context})",
        )
    micro = config.trainer.micro_batch
    if micro is not None and micro > config.stage.batch_size:
        yield Problem(
            key="trainer.micro_batch", value=micro, message=f"is larger than stage.batch_size={config.stage.batch_size}"
        )
    if config.regularizer.name in ("ewc", "replay") and not (
        config.regularizer.text or config.checkpoint.pretraining_text
    ):
        yield Problem(
            key="regularizer.text",
            value=None,
            message=f"regularizer={config.regularizer.name} needs a text: this checkpoint's family names none",
        )
    if config.optimizer.name != "sgd" and len(config.optimizer.betas) != 2:
        yield Problem(key="optimizer.betas", value=list(config.optimizer.betas), message="must be two numbers")
    for beta in config.optimizer.betas:
        if not 0 <= beta < 1:
            yield Problem(key="optimizer.betas", value=beta, message="must be at least 0 and below 1")
    for task in ("in_domain", "out_of_domain", "cross_task"):
        names = getattr(config.task, task)
        if len(set(names)) != len(names):
            yield Problem(key=f"task.{task}", value=list(names), message="names a task twice")
