"""``mode=show``: what a command would feed to the model, one example of each evaluation (or training), in words and
tokens. Needs rows and a tokenizer, no weights; nothing is computed or written.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pretune.checkpoints.downloads import download
from pretune.checkpoints.files import choose_small
from pretune.checkpoints.loading import load_tokenizer
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import resolve
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint
from pretune.data.partition import LoadSplit
from pretune.errors import CheckpointError
from pretune.execution.cells import Cell
from pretune.execution.display import make_console
from pretune.execution.evaluating import prepare_evaluation
from pretune.execution.grid import Grid
from pretune.execution.jobs import Job
from pretune.results.store import Study

if TYPE_CHECKING:
    from pretune.data.encoding import Encoder


def show_examples(grid: Grid) -> int:
    """Print one example of every distinct evaluation (``train.py``: and of the training); return the exit status."""
    console, load = make_console(), LoadSplit()
    encoders = Encoders(grid.study)
    shown: set[tuple[str, ...]] = set()
    for cells in grid.jobs:
        encoder, label = encoders.get(cells.job)
        for cell in cells.all():
            if cell.state == "tuned" and cells.train is not None and cell.evaluation is not None:
                continue  # the base model is asked the same
            heading, lines = describe_cell(cell, cells.job, encoder, load)
            if (label, *heading) not in shown:
                shown.add((label, *heading))
                text = "\n".join([f"{' · '.join(heading)} · tokenizer of {label}", "", *lines, ""])
                console.print(text, markup=False, soft_wrap=True)
    return 0


def describe_cell(cell: Cell, job: Job, encoder: Encoder, load: LoadSplit) -> tuple[tuple[str, ...], list[str]]:
    """What is shown of a cell, as the parts of a heading, and the lines that show its first example."""
    from pretune.data.encoding import Encoder
    from pretune.data.partition import draw_training_rows
    from pretune.evaluation.prompting import render_fitting
    from pretune.evaluation.showing import show_example

    if cell.evaluation is None:
        assert isinstance(job.config, TrainConfig)
        task = job.config.task
        example = draw_training_rows(load.partition(task), task, seed=job.config.seed)[0]
        shorter = Encoder(encoder.tokenizer, max_length=min(job.config.stage.max_length, encoder.max_length))
        heading = (f"training on {task.name}", f"format {job.config.format.name}", f"row {example.id}")
        return heading, show_example(shorter, example, task=task, format_=job.config.format, learnt=True)
    evaluation = cell.evaluation
    prepared = prepare_evaluation(cell, job, "", load)
    example = prepared.examples[0]
    task, format_, shots = evaluation.task, evaluation.format, prepared.shots
    row = f"row {example.id} of {prepared.split_name}"
    if task.answer == "language":
        return (task.name, row), show_example(encoder, example, task=task, format_=format_)
    if shots:
        reserve = task.max_new_tokens if task.answer == "generation" else 0
        _, dropped = render_fitting(encoder, [example], task=task, format_=format_, shots=shots, reserve=reserve)
        shots = shots[dropped[0] :]
    asked = f"{len(prepared.shots)} shots" + (f", {len(shots)} fit" if len(shots) < len(prepared.shots) else "")
    parts = (task.name, f"format {format_.name}", asked, row)
    return parts, show_example(encoder, example, task=task, format_=format_, shots=shots)


class Encoders:
    """Tokenizers of checkpoints, with the length of their context; weights are not loaded."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._refs = RefCache(study)
        self._known: dict[str, tuple[Encoder, str]] = {}

    def get(self, job: Job) -> tuple[Encoder, str]:
        """Encoder for a job's checkpoint, or for that of the trained run it evaluates, and the checkpoint's name."""
        checkpoint = job.config.checkpoint
        if isinstance(job.config, EvaluateConfig) and job.config.run is not None:
            run_id = self._study.find_run(job.config.run)
            checkpoint = freeze(TrainConfig, self._study.read_config(run_id)).checkpoint
        key = repr(checkpoint)
        if key not in self._known:
            self._known[key] = self._load(checkpoint)
        return self._known[key]

    def _load(self, checkpoint: Checkpoint) -> tuple[Encoder, str]:
        from pretune.data.encoding import Encoder

        resolved = resolve(checkpoint, self._refs)
        label = f"{checkpoint.family} {resolved.label}"
        if checkpoint.recipe is not None:
            from pretune.pico.tokenizer import build_tokenizer

            return Encoder(build_tokenizer(), max_length=checkpoint.recipe.model.context_length), label
        if checkpoint.source == "path":
            folder = Path(str(checkpoint.path)).expanduser()
        else:
            small = set(choose_small(file.name for file in resolved.files))
            files = [file for file in resolved.files if file.name in small]
            folder = download(str(checkpoint.repo), str(resolved.commit), files)
        return Encoder(load_tokenizer(folder), max_length=read_context(folder)), label


def read_context(folder: Path) -> int:
    """The longest sequence of the model in ``folder``, from its configuration."""
    from transformers import AutoConfig

    from pretune.modeling import context_length

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    length = context_length(SimpleNamespace(config=config))
    if length is None:
        raise CheckpointError(f"{folder}: config.json does not say how long the context is")
    return length
