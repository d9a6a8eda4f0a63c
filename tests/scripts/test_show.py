"""``mode=show``: what a person reads, from the real commands."""

from __future__ import annotations

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
