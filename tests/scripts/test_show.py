"""``mode=show``: what a person reads, from the real commands."""

from __future__ import annotations

import json

from support.studies import SMALL, Place

TASK = ("task=pico/nli", "task.train_rows=32", "task.validation_rows=8")


def test_an_evaluation_is_shown_and_nothing_is_built_or_written(place: Place) -> None:
    result = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", "mode=show", "shots=2", "format=io")
    assert result.status == 0, result.text
    assert result.out.startswith("pico/nli · format io · 2 shots · row ")
    assert "⟦" in result.out
    assert result.out.count("  * ⟦") == 1
    assert "\x1b" not in result.out
    assert not place.runs()


def test_a_sweep_shows_each_evaluation_once_and_a_training_what_it_learns(place: Place) -> None:
    words = (*SMALL, *TASK, "mode=show")
    swept = place.evaluate("-m", *words, "checkpoint.step=4,8", "format=default,io")
    assert swept.out.count("pico/nli · format") == 4  # two checkpoints, two formats
    trained = place.train(*words, "checkpoint.step=8")
    assert trained.status == 0, trained.text
    assert trained.out.count("training on pico/nli · format default") == 1
    assert "of them learnt" in trained.out
    assert not place.runs()


def test_overlap_of_evaluated_rows_with_a_text_is_reported_and_kept(place: Place) -> None:
    texts = place.cwd.parent / "texts"
    texts.mkdir()
    shown = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", "mode=show", "format=io")
    row = shown.out.split("\ntext\n")[1].splitlines()[0].strip().replace("⟦", " ").replace("⟧", "")
    (texts / "one.txt").write_text(f"before {row} after")
    (texts / "two.txt").write_text("nothing of the kind")
    words = ("mode=contamination", "contamination.text=text", f"contamination.path={texts}", "contamination.ngram=8")
    result = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", *words)
    assert result.status == 0, result.text
    assert "2 documents" in result.out
    (kept,) = (place.study / "contamination").glob("*.json")
    overlaps = json.loads(kept.read_text())["rows"]
    assert len(overlaps) == 8
    assert [o["found"] == o["total"] > 0 for o in overlaps].count(True) >= 1
    assert overlaps[0]["answer_found"] > 0
    assert not place.runs()
    wrong = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", "mode=contamination", "contamination.text=mnli")
    assert wrong.status == 2
    assert "contamination.text=mnli: is no plain text" in wrong.err
