"""Published results beside a study's own: drawn with it, told apart, named by their source."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest

from pretune.errors import DataError
from pretune.report import write_report
from pretune.report.gathering import gather
from pretune.report.overlays import find_overlays, join_ladders, name_source
from pretune.results.store import Study
from synthetic_tables import PRIMARY, realistic_study

PUBLISHED = Path(os.environ.get("PRETUNE_PUBLISHED", "/nowhere"))


def test_a_study_of_damaged_runs_is_not_said_to_be_empty(tmp_path):
    run = tmp_path / "runs" / "evaluate-pico-0123456789ab"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "metrics.parquet").write_text("no table")
    with pytest.raises(DataError, match="none of its finished runs could be read"):
        gather(Study(tmp_path), None, "tidy")


def test_published_families_of_the_same_model_are_found():
    families = ["olmo1b", "olmo1b (amuro_char)", "pythia/160m (pythia)", "olmo1b (draft)"]
    assert find_overlays(families) == {"olmo1b": ("olmo1b (amuro_char)",)}
    assert name_source("olmo1b (amuro_char)") == "amuro_char"


def test_a_ladder_takes_in_the_checkpoints_of_its_overlay():
    rows = [("own", "a", 1), ("own", "c", 100), ("own (tidy)", "b", 10), ("own (tidy)", "c", 100)]
    checkpoints = pd.DataFrame(rows, columns=["family", "checkpoint", "step"])
    joined = join_ladders(checkpoints, {"own": ("own (tidy)",)})
    assert joined["own"]["checkpoint"].tolist() == ["a", "b", "c"]
    assert joined["own (tidy)"]["checkpoint"].tolist() == ["b", "c"]


def test_overlaid_curves_are_distinct_and_name_their_source(tmp_path):
    own = realistic_study(steps=(16, 256, 1024))
    others = realistic_study(seed=3, steps=(64, 1024))
    others = others.assign(family="pico (tidy)", run_id="table.csv:" + others.index.astype(str))
    files = write_report(pd.concat([own, others], ignore_index=True), tmp_path, title="Both", primary=PRIMARY)
    drawing = files.figures["task-pico-pico-nli"].read_text(encoding="utf-8").split("</style>")[1]
    assert drawing.count('class="series published"') == 2
    assert "published (tidy), after fine-tuning" in drawing
    assert "before fine-tuning" in drawing
    page = files.page.read_text(encoding="utf-8")
    assert "published by others" in page
    assert page.count("the same five questions") == 1
    assert page.count("<dt>What it costs</dt>") == 2


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="PRETUNE_PUBLISHED names no folder")
def test_the_reference_study_alone_makes_a_page_that_flags_its_unsound_scores(tmp_path):
    file = PUBLISHED / "amuro_char_all_perf.csv"
    source = gather(Study(tmp_path / "none"), str(file), "amuro_char")
    files = write_report(source.table, tmp_path / "r", title=source.title, primary=source.primary, study=source.facts)
    page = files.page.read_text(encoding="utf-8")
    assert "mnli (between step18000 and step342000)" in page
    assert "should not be believed" in page
    assert "mnli +46.5" in page
    exchange = page.split("Transfer and forgetting between kinds of tasks</h3>")[1].split("</table>")[0]
    assert '<td class="number" data-sort="-61.4' in exchange  # classification → generation, mean relative change
    assert re.search(r'data-sort="0\.3\d*">0\.3', exchange)  # generation → classification
    soundness = page.split('<section id="soundness">')[1].split("</section>")[0]
    flagged = pd.read_csv(files.tables["soundness"])
    for task in ("qqp", "stsb"):
        row = flagged[flagged["eval_task"].str.contains(task)].iloc[0]
        assert (row["flag"], row["severity"]) == ("constant gold label", "unsound")
        assert f"{row['eval_task']}, base" in soundness
    assert "far below chance" in soundness
