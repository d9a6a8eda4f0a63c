"""The examples of the how-to pages do what the pages say."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from support.commands import run
from support.models import SENTENCES, make_model, make_tokenizer
from synthetic_tables import PRIMARY, realistic_study

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"


def read_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


def run_block(page: str, number: int = 0) -> SimpleNamespace:
    """Execute a block of our own page and return its names."""
    names: dict[str, object] = {}
    exec(compile(read_blocks(page, "python")[number], page, "exec"), names)
    return SimpleNamespace(**names)


def test_the_probe_of_the_page_prunes_and_puts_back():
    from pretune.config.science import Task
    from pretune.data.examples import Example
    from pretune.probes.meters import TextMeter
    from pretune.probes.subject import Subject

    page = run_block("add-a-probe.md")
    matrix = torch.randn(20, 10)
    assert (page.prune(matrix, 0.3) == 0).float().mean().item() == pytest.approx(0.3)
    assert page.prune(matrix, 0.0) is matrix

    model, tokenizer = make_model(), make_tokenizer("word")
    texts = [Example(id=str(number), target=text) for number, text in enumerate(SENTENCES[:8])]
    meter = TextMeter(model, tokenizer, Task(name="text", family="text", answer="language"), texts)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = SimpleNamespace(tensors=("all",), shares=(0.0, 0.9))
    found = page.probe_prune(Subject(model=model, tokenizer=tokenizer, probe=settings, meters=[meter]))
    losses = {row["magnitude"]: row["value"] for row in found.rows if row["metric"] == "loss"}
    assert losses[0.0] == meter.read(model).value != losses[0.9]
    assert {row["metric"] for row in found.rows} >= {"loss", "loss_increase"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_analysis_of_the_page_runs_on_a_whole_study_and_fits_the_catalogue():
    from pretune.analysis import Inputs
    from pretune.analysis.catalogue import Analysis

    page = run_block("add-an-analysis.md")
    names = {"Analysis": Analysis, "best_checkpoints": page}
    entry = eval(read_blocks("add-an-analysis.md", "python")[1], names)
    table = entry.compute(Inputs(table=realistic_study(), primary=PRIMARY))
    assert list(table.columns) == list(entry.columns)
    assert len(table) > 0
    assert table["checkpoint"].notna().all()


@pytest.mark.parametrize(
    ("page", "place", "words"),
    [
        ("add-a-task.md", "task/own.yaml", ("task=own", "checkpoint=pico/step64")),
        (
            "add-a-format.md",
            "format/own.yaml",
            ("format=own", "task=rte", "eval.relations=[validation,in_domain]", "checkpoint=pico/step64"),
        ),
        ("add-a-family.md", "checkpoint/own.yaml", ("checkpoint=own", "checkpoint.step=1000", "task=pico/nli")),
    ],
)
def test_the_file_of_the_page_plans_cells_from_a_folder_of_ones_own(tmp_path, page, place, words):
    target, work = tmp_path / "conf" / place, tmp_path / "work"
    target.parent.mkdir(parents=True)
    work.mkdir()
    target.write_text(read_blocks(page, "yaml")[0])
    done = run("train.py", f"--config-dir={tmp_path / 'conf'}", *words, "mode=plan", cwd=work)
    assert done.status == 0, done.text
    assert {"task": "snli", "format": "-mine-", "checkpoint": "mymodel-1b"}[words[0].partition("=")[0]] in done.out
