"""Several processes on one grid: some are killed, one is put to sleep and wakes after its cell was taken over."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from support.commands import Running, environment, start, wait_until
from support.studies import GRID, SMALL, Place, lines_with, make_place, values

LONG = (
    *SMALL,
    "task=pico/paraphrase",
    "task.train_rows=500",
    "task.validation_rows=8",
    "eval.relations=[in_domain]",
    "checkpoint.step=8",
    "optimizer.lr=1e-3",
    "trainer.save_seconds=0.05",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    there = make_place(tmp_path_factory.mktemp("undisturbed"), cache)
    result = there.train("-m", *GRID)
    assert result.status == 0, result.text
    return there


def begin(place: Place, *words: str, lease: float = 60.0, **more: str) -> Running:
    """Start ``train.py`` with another lease than the default."""
    env = environment(place.cwd.parent, PRETUNE_LEASE_SECONDS=str(lease), **more)
    return start("train.py", *place.arguments(*words), cwd=place.cwd, env=env)


class Publications:
    """Watches a study: every folder that appears in the place of a run, by the number of its file."""

    def __init__(self, place: Place) -> None:
        self.seen: dict[str, set[tuple[int, int]]] = {}
        self._place, self._stop = place, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            for path in (self._place.study / "runs").glob("[!.]*/run.json"):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                self.seen.setdefault(path.parent.name, set()).add((found.st_ino, found.st_mtime_ns))

    def end(self) -> dict[str, int]:
        """Stop watching; how often each run was published."""
        self._stop.set()
        self._thread.join()
        return {name: len(found) for name, found in self.seen.items()}


def check_whole(place: Place, undisturbed: Place) -> None:
    pd.testing.assert_frame_equal(values(place.study), values(undisturbed.study), check_exact=True)
    left = [path for name in ("claims", "work") for path in (place.study / name).rglob("*") if path.is_file()]
    assert left + list((place.study / "runs").glob(".*")) == []
    assert place.failures() == []


@pytest.mark.parametrize("attempt", [0, *(pytest.param(n, marks=pytest.mark.faults) for n in range(1, 4))])
def test_four_processes_two_of_them_killed_make_every_cell_once(place: Place, undisturbed: Place, attempt: int) -> None:
    rng = random.Random(int(os.environ.get("PRETUNE_FAULTS_SEED") or 0) + attempt)
    publications = Publications(place)
    processes = [begin(place, "-m", *GRID) for _ in range(4)]
    killed = 0
    for victim in processes[:2]:
        wait_until(lambda: bool(place.runs()), seconds=60)
        time.sleep(rng.uniform(0.0, 0.4))
        killed += victim.is_running()  # a fast machine may be done with the grid before the second
        victim.kill()
    assert killed
    results = [process.wait() for process in processes[2:]]
    for result in results:
        assert result.status == 0, result.text
    counts = publications.end()
    assert set(counts) == {path.name for path in undisturbed.runs()}
    assert set(counts.values()) == {1}
    made = sum(sum(result.done) for result in results)
    assert made <= len(counts)
    check_whole(place, undisturbed)


def test_an_owner_that_sleeps_longer_than_its_lease_discards_its_result(place: Place, tmp_path: Path) -> None:
    """It sleeps through the take-over, the training and the publication by another process, then wakes."""
    sleeper = begin(place, *LONG, lease=0.6)
    assert wait_until(lambda: any(place.study.glob("work/*/step.ckpt")) or not sleeper.is_running())
    os.killpg(sleeper.pid, signal.SIGSTOP)
    assert place.runs("train-*") == [], "the training was over before it could be stopped"
    (claim,) = place.study.glob("claims/train-*.json")
    before = claim.read_text()

    successor = begin(place, *LONG, lease=0.6).wait()
    assert successor.status == 0, successor.text
    (folder,) = place.runs("train-*")
    record = (folder / "run.json").read_bytes()
    assert json.loads(record)["provenance"]["resumed_at"] > 0  # it went on from the sleeper's step
    assert json.loads(before)["pid"] == sleeper.pid

    os.killpg(sleeper.pid, signal.SIGCONT)
    result = sleeper.wait()
    assert result.status == 0, result.text
    assert lines_with(result.err, "another process took over this cell; the result is discarded")
    assert result.done[0] == 0
    assert (folder / "run.json").read_bytes() == record
    twin = make_place(tmp_path / "undisturbed", place.cache)
    assert twin.train(*LONG).status == 0
    check_whole(place, twin)


def test_an_owner_that_wakes_beside_its_successor_leaves_it_alone(place: Place) -> None:
    """Both are at work on one cell for a moment; the one that was taken over stops and waits for the other."""
    sleeper = begin(place, *LONG, lease=0.6)
    assert wait_until(lambda: any(place.study.glob("work/*/step.ckpt")) or not sleeper.is_running())
    os.killpg(sleeper.pid, signal.SIGSTOP)
    (claim,) = place.study.glob("claims/train-*.json")
    owned = claim.read_text()
    publications = Publications(place)
    successor = begin(place, *LONG, lease=0.6)
    assert wait_until(lambda: claim.exists() and claim.read_text() not in ("", owned) or not successor.is_running())
    os.killpg(sleeper.pid, signal.SIGCONT)
    results = [process.wait() for process in (sleeper, successor)]
    assert [result.status for result in results] == [0, 0], results
    assert results[0].done[0] == 0
    assert results[1].done[0] == 1
    assert set(publications.end().values()) == {1}
    assert place.failures() == []
