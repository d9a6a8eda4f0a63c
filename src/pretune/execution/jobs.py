"""Jobs: one point of a sweep, complete in itself.

A job holds its configuration and every task and format it needs, so that a worker in another process or on another
machine can run it without Hydra. It is plain data on the way.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pretune.checkpoints.ladders import find_ladder, heldout_dir, is_built, recipe_of
from pretune.config.library import Library
from pretune.config.probing import Probe, ProbeConfig
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.schema import SCRIPTS, freeze, to_plain
from pretune.config.science import Checkpoint, Format, Task, Template
from pretune.data.paraphrasing import paraphrase
from pretune.errors import UsageError

PARAPHRASE = "paraphrase"
"""Formats of this name, with a number, are paraphrases made for a probe."""
EVALUATED_RELATIONS = ("validation", "in_domain", "out_of_domain", "cross_task", "pretraining")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One configuration of train.py or evaluate.py with the definitions it refers to."""

    script: str
    config: TrainConfig | EvaluateConfig | ProbeConfig
    tasks: Mapping[str, Task] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    @property
    def regularizer_text(self) -> Task | None:
        """The task with the pre-training text that the regularizer of a training reads, if it reads one."""
        name = name_regularizer_text(self.config) if isinstance(self.config, TrainConfig) else None
        return self.tasks[name] if name is not None else None

    @property
    def command(self) -> str:
        """The shell command that runs this job alone."""
        return shlex.join(["python", f"{self.script}.py", *self.overrides])

    def to_plain(self) -> dict[str, Any]:
        """Plain data, from which :meth:`from_plain` makes an equal job."""
        return {
            "script": self.script,
            "config": to_plain(self.config),
            "tasks": to_plain(self.tasks),
            "formats": to_plain(self.formats),
            "overrides": list(self.overrides),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Job:
        """Inverse of :meth:`to_plain`; types are checked by the schema."""
        return cls(
            script=data["script"],
            config=freeze(SCRIPTS[data["script"]], data["config"]),
            tasks={name: freeze(Task, task) for name, task in data["tasks"].items()},
            formats={name: freeze(Format, format_) for name, format_ in data["formats"].items()},
            overrides=tuple(data["overrides"]),
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation that a job asks for, of whatever weights."""

    task: Task
    split: str
    relation: str | None
    format: Format
    shots: int


def name_regularizer_text(config: TrainConfig) -> str | None:
    """Name of the task whose training split the regularizer reads; ``None`` for a regularizer without text."""
    if config.regularizer.name not in ("ewc", "replay"):
        return None
    return config.regularizer.text or config.checkpoint.pretraining_text


def check_regularizer_text(config: TrainConfig, text: Task) -> None:
    """Refuse rows that are no plain text, and a text without a training split: the other split is evaluated."""
    if text.answer != "language":
        raise UsageError(f"regularizer.text={text.name}: is no plain text")
    if text.train_split is None:
        raise UsageError(
            f"regularizer={config.regularizer.name}: task={text.name} has no training split to read text from; "
            f"name another with regularizer.text=…"
        )


def plain_text_format(task: Task) -> Format:
    """Format of language-modelling tasks: the text itself."""
    return Format(name="", separator="", templates={task.family: Template(prompt="", completion="{answer}")})


def complete_train_job(config: TrainConfig, library: Library, overrides: tuple[str, ...]) -> Job:
    """Add the tasks and formats that a training configuration refers to."""
    names = [*_related(config.task, "in_domain"), *config.task.out_of_domain, *config.task.cross_task]
    tasks = {name: config.task if name == config.task.name else library.task(name) for name in dict.fromkeys(names)}
    if config.checkpoint.pretraining_text and "pretraining" in config.eval.relations:
        text = library.task(config.checkpoint.pretraining_text)
        tasks[text.name] = with_ladder_text(text, config.checkpoint, config.cache_dir)
    if (name := name_regularizer_text(config)) is not None:
        tasks[name] = with_ladder_text(library.task(name), config.checkpoint, config.cache_dir)
        check_regularizer_text(config, tasks[name])
    formats = {
        name: config.format if name == config.format.name else library.format(name) for name in config.eval.formats
    }
    job = Job(script="train", config=config, tasks=tasks, formats=formats, overrides=overrides)
    check_template(config.task, config.format)
    for evaluation in list_evaluations(job):
        check_template(evaluation.task, evaluation.format)
    return job


def complete_evaluate_job(config: EvaluateConfig, library: Library, overrides: tuple[str, ...]) -> Job:
    """Add the tasks that an evaluation refers to: the one given, or the whole map of ``suite``."""
    tasks = {config.task.name: config.task}
    if config.task.source == "ladder" and config.suite is None:
        tasks = {config.task.name: with_ladder_text(config.task, config.checkpoint, config.cache_dir)}
    if config.suite is not None:
        trained = library.task(config.suite)
        names = [*_related(trained, "in_domain"), *trained.out_of_domain, *trained.cross_task]
        tasks = {name: library.task(name) for name in dict.fromkeys(names)}
    for task in tasks.values():
        check_template(task, config.format)
    return Job(
        script="evaluate", config=config, tasks=tasks, formats={config.format.name: config.format}, overrides=overrides
    )


def complete_probe_job(
    config: ProbeConfig, library: Library, overrides: tuple[str, ...], checkpoint: Checkpoint
) -> Job:
    """Add the text and the tasks that are measured; ``checkpoint`` is the one probed (a run's own, for ``run=``)."""
    name = config.text or checkpoint.pretraining_text
    if name is None:
        raise UsageError("text: the checkpoint names no pre-training text; give text=TASK")
    text = library.task(name)
    if text.answer != "language":
        raise UsageError(f"text={name}: is no plain text (answer={text.answer}); give a task of text, such as c4")
    tasks = {text.name: with_ladder_text(text, checkpoint, config.cache_dir)}
    for other in config.tasks:
        task = library.task(other)
        if task.answer not in ("classification", "choice"):
            raise UsageError(
                f"tasks={other}: answer={task.answer} is not measured by probes; valid: classification, choice"
            )
        check_template(task, config.format)
        tasks[task.name] = task
    formats = {config.format.name: config.format}
    if config.probe.name == "format":
        formats = {
            name: config.format if name == config.format.name else library.format(name) for name in config.probe.formats
        } | paraphrase_format(config.format, config.probe, tasks.values())
    return Job(script="probe", config=config, tasks=tasks, formats=formats, overrides=overrides)


def paraphrase_format(format_: Format, probe: Probe, tasks: Iterable[Task]) -> dict[str, Format]:
    """Return the paraphrases of a format by name, each with those families that have so many."""
    templates: dict[str, dict[str, Template]] = {}
    for family in dict.fromkeys(task.family for task in tasks if task.answer != "language"):
        wordings = probe.wordings.get(family, ())
        found = paraphrase(format_.templates[family], wordings, probe.paraphrases)
        for number, template in enumerate(found, start=1):
            templates.setdefault(f"{PARAPHRASE}-{number}", {})[family] = template
    return {name: dataclasses.replace(format_, name=name, templates=known) for name, known in templates.items()}


def with_ladder_text(task: Task, checkpoint: Checkpoint, cache_dir: str) -> Task:
    """Say where the held-out text of a ladder lies (``task.source=ladder``); other tasks are returned as they are."""
    if task.source != "ladder":
        return task
    if checkpoint.source != "ladder" or recipe_of(checkpoint).text == "pico":
        raise UsageError(
            f"task={task.name}: is the text that a ladder on real text kept out of training; "
            f"checkpoint.family={checkpoint.family} has none (use checkpoint=text or checkpoint=ladder)"
        )
    folder = find_ladder(checkpoint, cache_dir)
    if not is_built(folder):
        raise UsageError(
            f"the ladder {folder.name} is not trained yet; train it first: "
            "python train.py stage=pretrain with the same checkpoint"
        )
    return dataclasses.replace(task, source="path", path=str(heldout_dir(folder)))


def check_template(task: Task, format_: Format) -> None:
    """Refuse a format that has no words for a task's family."""
    if task.answer != "language" and task.family not in format_.templates:
        raise UsageError(
            f"format={format_.name} has no template for family '{task.family}' of task '{task.name}'; "
            f"it knows: {', '.join(format_.templates)}"
        )


def _related(task: Task, relation: str) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(task, relation)
    return names or ((task.name,) if relation == "in_domain" else ())


def list_evaluations(job: Job) -> list[Evaluation]:
    """Evaluations that a job asks for, each (task, split, format, shots) once.

    Plain text has neither format nor shots, a conversation no shots. A task without a training split has no shots:
    such combinations do not exist and are left out.
    """
    found: dict[tuple[object, ...], Evaluation] = {}
    for evaluation in _evaluations(job):
        key = (evaluation.task.name, evaluation.split, evaluation.format.name, evaluation.shots)
        found.setdefault(key, evaluation)
    return list(found.values())


def _evaluations(job: Job) -> Iterator[Evaluation]:
    config = job.config
    if isinstance(config, ProbeConfig):
        for task in job.tasks.values():
            known = [format_ for format_ in job.formats.values() if task.family in format_.templates]
            yield from _combine(task, "evaluation", None, known, [0])
        return
    if isinstance(config, EvaluateConfig):
        for task in job.tasks.values():
            yield from _combine(task, "evaluation", None, [config.format], [config.shots])
        return
    formats = [job.formats[name] for name in config.eval.formats]
    for relation in EVALUATED_RELATIONS:
        if relation not in config.eval.relations:
            continue
        if relation == "validation":
            yield Evaluation(task=config.task, split="validation", relation=relation, format=config.format, shots=0)
        elif relation == "pretraining":
            if config.checkpoint.pretraining_text:
                text = job.tasks[config.checkpoint.pretraining_text]
                yield from _combine(text, "evaluation", relation, [], [])
        else:
            for name in _related(config.task, relation):
                yield from _combine(job.tasks[name], "evaluation", relation, formats, list(config.eval.shots))


def _combine(
    task: Task, split: str, relation: str | None, formats: list[Format], shots: list[int]
) -> Iterator[Evaluation]:
    if task.answer == "language":
        yield Evaluation(task=task, split=split, relation=relation, format=plain_text_format(task), shots=0)
        return
    for format_ in formats:
        for count in shots:
            if count == 0 or (task.train_split is not None and task.answer != "chat"):
                yield Evaluation(task=task, split=split, relation=relation, format=format_, shots=count)


def with_step(job: Job, step: int) -> Job:
    """The same job at another step of its checkpoint's family."""
    checkpoint = dataclasses.replace(job.config.checkpoint, step=step)
    kept = tuple(text for text in job.overrides if not text.startswith("checkpoint.step="))
    config = dataclasses.replace(job.config, checkpoint=checkpoint)
    return dataclasses.replace(job, config=config, overrides=(*kept, f"checkpoint.step={step}"))


def with_group(job: Job, group: str) -> Job:
    """The same job under a given name of its grid for the tracker."""
    logger = dataclasses.replace(job.config.logger, group=group)
    return dataclasses.replace(job, config=dataclasses.replace(job.config, logger=logger))
