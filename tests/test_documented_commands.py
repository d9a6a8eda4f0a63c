"""Every command of README and docs is run, as it stands but on fewer rows and a smaller ladder, or says what it needs.

Those that need more than the project itself (the Hub, GPUs, a cluster) are planned instead: they go the whole way
from the shell to the cells of their grid.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.commands import NO_HUB, ROOT, Result, environment, run
from support.hub import serve
from support.models import make_model
from support.pages import Command, read_commands

ELSEWHERE = {
    "./run miniature": "tests/scripts/test_miniature.py",
    "./run tests": ".ci/run",
    "./run setup": "run",
    "source .venv/bin/activate": "run",
    "python benchmarks/gpu_training.py --device cpu --small": "tests/benchmarks/test_gpu_training.py",
    "PRETUNE_WRITE_GOLDEN=1 python -m pytest tests/evaluation/test_showing.py": "tests/evaluation/test_showing.py",
    "git diff tests/evaluation/shown.txt": "docs/how-to/add-a-task.md",
}
"""Commands without a study, and the file that runs them or is run by them."""

MODEL, STAGE, CORPUS = (f"checkpoint.recipe.{part}" for part in ("model", "stage", "corpus"))
TINY = {f"{MODEL}.hidden_size": "32", f"{MODEL}.intermediate_size": "64", f"{MODEL}.layers": "1", f"{MODEL}.heads": "2"}
PICO = {**TINY, f"{STAGE}.save_steps": "[0,64,256,768,1024]", f"{STAGE}.batch_size": "2"}
TEXT = {
    **TINY, f"{MODEL}.context_length": "16", f"{CORPUS}.held_out": "4", f"{CORPUS}.vocabulary": "300",
    f"{STAGE}.save_steps": "[0,4,8]", f"{STAGE}.warmup_steps": "1", f"{STAGE}.batch_size": "2",
    f"{STAGE}.sequence_length": "16",
}  # fmt: skip
FEW_TRAINING_ROWS = {"task.train_rows": "16", "task.validation_rows": "8", "eval.relations": "[in_domain]"}
FEW_DISTURBANCES = {
    "probe.gammas": "[0.1]", "probe.seeds": "1", "probe.critical_increase": "0", "probe.folds": "2",
    "probe.samples": "2", "probe.iterations": "2", "probe.texts": "4", "probe.paraphrases": "1",
}  # fmt: skip
FEW_ROWS = {
    "train": {"eval.limit": "4", **FEW_TRAINING_ROWS},
    "evaluate": {"eval.limit": "4"},
    "probe": {"eval.limit": "24", **FEW_DISTURBANCES},
}
PUBLISHED = """,model_id,eval dataset,Performance,std
0,olmo1b_checkpoint-18000_original_hf_4shots,mnli_matched,0.335,0.005
1,olmo1b_hf_ckpt18000_mnli_3epoch_2e-6_4shots,mnli_matched,0.557,0.005
2,olmo1b_original_hf_4shots,mnli_matched,0.34,0.005
3,olmo1b_hf_main_mnli_3epoch_2e-6_4shots,mnli_matched,0.7,0.005
"""
COMMANDS = read_commands()
RUN = [command for command in COMMANDS if command.needs is None and command.text.partition("  ")[0] not in ELSEWHERE]
RUN.sort(key=lambda command: command.page != "docs/tutorial.md")  # it makes the study that the other pages look at
PLANNED = [
    command
    for command in COMMANDS
    if command.needs and command.script not in (None, "report") and "stage=pretrain" not in command.words
]
STEPS = {
    "allenai/OLMo-2-1124-7B": [f"stage1-step{step}000-tokens{4 * step}B" for step in range(150, 900, 150)],
    "allenai/OLMo-2-0425-1B": [f"stage1-step{step}000-tokens{2 * step}B" for step in range(100, 1900, 100)],
    "EleutherAI/pythia-410m": ["step1000", "step143000"],
    **{f"EleutherAI/pythia-160m-seed{seed}": ["step1000", "step143000"] for seed in (1, 2, 3)},
}
"""Revisions of repositories whose steps a command asks for."""


@dataclass(frozen=True)
class Desk:
    """Where somebody types the commands of all pages, one after another."""

    cwd: Path
    cache: Path
    hub: str = NO_HUB

    def type(self, command: Command) -> Result:
        """Run a command as it stands, with what stands for the reader's places, on little data."""
        words = [self.stand_in(word) for word in command.overrides]
        if command.script is None:
            return self.call(*command.words[1:])
        if command.script != "report":
            words = self.reduce(command, words)
        grid = ["-m"] if "-m" in command.words else []
        # joblib waits for its workers in a command that is forked itself
        return run(f"{command.script}.py", *grid, *words, cwd=self.cwd, fresh="hydra/launcher" in command.text)

    def reduce(self, command: Command, words: list[str]) -> list[str]:
        """Overrides for seconds."""
        small = {"cache_dir": str(self.cache)}
        if "checkpoint=pico" in command.text:
            small |= PICO
        elif "checkpoint=text" in command.text:
            small |= TEXT
        if "logger." not in command.text:
            small["logger"] = "none"
        if "stage=pretrain" not in words:
            small |= FEW_ROWS[command.script or ""]
        return [word for word in words if word.partition("=")[0] not in small] + [f"{k}={v}" for k, v in small.items()]

    def stand_in(self, word: str) -> str:
        """A word with a run of the study, or a ladder of the cache, in the place of a name in capitals."""
        if "RUN_ID" in word:
            runs = sorted(self.cwd.glob("studies/default/runs/train-*/run.json"))
            word = word.replace("RUN_ID", runs[0].parent.name)
        if "LADDER" in word:
            ladder = next(path for path in (self.cache / "ladders").iterdir() if path.name.startswith("folder"))
            word = word.replace("LADDER", str(ladder))
        return word

    def call(self, *words: str) -> Result:
        """Run a module of the project."""
        done = subprocess.run(
            [sys.executable, *words], cwd=self.cwd, env=environment(self.cwd, PYTHONPATH=str(ROOT / "src")),
            capture_output=True, text=True,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A folder with the files that pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    there = Desk(folder / "work", folder / "cache")
    (there.cwd / "DIR").mkdir(parents=True)
    for number in range(24):
        text = f"The {number}th robin of the garden sang a song about the river. " * 12
        (there.cwd / "DIR" / f"{number:02}.txt").write_text(text)
    for name in ("FILE.csv", "results.csv", "all_perf_table.csv"):
        (there.cwd / name).write_text(PUBLISHED)
    (there.cwd / "grid.csv").write_text('checkpoint,optimizer.lr,eval.shots\nstep342k,2e-6,"[0, 4]"\n')
    make_model().save_pretrained(there.cwd / "my_model")
    miniature = "python train.py checkpoint=pico/step1024 task=pico/nli study_dir=studies/miniature"
    assert there.type(Command("", miniature, None)).status == 0
    with serve(folder / "hub") as hub:
        for name, revisions in STEPS.items():
            hub.add_model(name, {revision: {} for revision in revisions})
        yield dataclasses.replace(there, hub=hub.address)


def test_what_is_not_run_says_what_it_needs() -> None:
    for command in RUN:
        known = command.script is not None or command.words[:2] == ["python", "-m"]
        assert known, f"{command.page}: {command.text}: run it here, or say in a comment above it what it needs"
    for place in ELSEWHERE.values():
        assert (ROOT / place).exists()
    typed = {command.text.partition("  ")[0] for command in COMMANDS}
    assert typed >= ELSEWHERE.keys()


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.page}: {command.text[:80]}")
def test_a_command_runs_as_written(command: Command, desk: Desk) -> None:
    if "slurm_local" in command.text and importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed (pip install 'pretune[cluster]')")
    result = desk.type(command)
    assert result.status == 0, result.text
    assert not re.search(r"Traceback|Warning:", result.text), result.text


@pytest.mark.parametrize("command", PLANNED, ids=lambda command: f"{command.page}: {command.text[:80]}")
def test_a_command_that_needs_more_is_planned(command: Command, desk: Desk) -> None:
    if "search=optuna" in command.text and importlib.util.find_spec("optuna") is None:
        pytest.skip("Optuna is not installed (pip install 'pretune[search]')")
    words = [desk.stand_in(word) for word in command.overrides if not word.startswith("mode=")]
    grid = ["-m"] if "-m" in command.words else []
    words += ["mode=plan", f"cache_dir={desk.cache}"]
    asks = "checkpoint.step=all" in words or "checkpoint.step=every" in command.text  # the Hub: forked commands cannot
    env = environment(desk.cwd, HF_ENDPOINT=desk.hub)
    result = run(f"{command.script}.py", *grid, *words, cwd=desk.cwd, env=env, fresh=asks)
    assert result.status == 0, result.text
