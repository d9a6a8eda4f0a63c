"""SIGKILL at random moments of every kind of command: the same command again completes as if nothing had happened.

A chain of five commands builds a ladder, trains, evaluates, probes and reports, in a study and a cache of its own.
Each is killed a few times at moments drawn from its undisturbed duration, then run to its end. The draw is printed;
``PRETUNE_FAULTS_SEED`` repeats one.
"""

from __future__ import annotations

import logging
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import load
from support.commands import run, start
from support.studies import CELL, LADDER, SMALL, STAGE, Place, make_place, values

RUNGS = f"{STAGE}.save_steps=[0,2,4,8,16]"
OFTEN = "trainer.save_seconds=0.02"
COMMANDS: dict[str, tuple[str, ...]] = {
    "ladder": ("train.py", *LADDER, "trainer=fp32", "logger=none", "stage=pretrain", RUNGS, OFTEN),
    "train": ("train.py", "-m", *CELL, RUNGS, OFTEN, "checkpoint.step=8,16", "optimizer.lr=1e-3", "logger=csv"),
    "evaluate": (
        "evaluate.py", "-m", *SMALL, RUNGS, "checkpoint.step=4,8,16", "task=pico/nli,pico/choice", "shots=0,2",
    ),
    "probe": (
        "probe.py", "-m", *SMALL, RUNGS, "checkpoint.step=4,16", "probe=gaussian,quantize", "probe.seeds=1",
    ),
    "report": ("report.py",),
}  # fmt: skip


def seed() -> int:
    return int(os.environ.get("PRETUNE_FAULTS_SEED") or random.SystemRandom().randrange(10**6))


def words(name: str, place: Place) -> list[str]:
    """A command of the chain in its place; the report has no cache."""
    script, *rest = COMMANDS[name]
    cache = [] if name == "report" else [f"cache_dir={place.cache}"]
    return [script, *rest, f"study_dir={place.study}", *cache]


@dataclass
class Chain:
    """The undisturbed chain: where it ran and how long each command took."""

    place: Place
    seconds: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("undisturbed")
    chain = Chain(place=make_place(folder, folder / "cache"))
    for name in COMMANDS:
        began = time.monotonic()
        result = run(*words(name, chain.place), cwd=chain.place.cwd)
        assert result.status == 0, result.text
        chain.seconds[name] = time.monotonic() - began
    return chain


def rungs(cache: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.glob("ladders/*/step*/*"))
        if path.is_file()
    }


class Witness:
    """Looks at a study after each kill: what was once published stays as it is, and every run is whole."""

    def __init__(self, place: Place, twin: pd.DataFrame) -> None:
        self.place = place
        self.twin = twin
        self.published: dict[str, tuple[int, bytes]] = {}

    def look(self) -> None:
        seen = {path.name: path / "run.json" for path in self.place.runs()}
        assert set(self.published) <= set(seen), "a finished cell was lost"
        for name, (inode, body) in self.published.items():
            assert (seen[name].stat().st_ino, seen[name].read_bytes()) == (inode, body), f"{name} was published twice"
        self.published = {name: (path.stat().st_ino, path.read_bytes()) for name, path in seen.items()}
        table = load(self.place.study)
        twin = self.twin[self.twin["run_id"].isin(set(seen))]
        pd.testing.assert_frame_equal(ordered(table), ordered(twin), check_exact=True)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = [name for name in table.columns if name not in ("value", "ci_low", "ci_high", "n")]
    return table.sort_values(keys, ignore_index=True)


def kill_once(name: str, place: Place, moment: float) -> bool:
    """Kill a command after ``moment`` seconds, unless it is over by then."""
    running = start(*words(name, place), cwd=place.cwd)
    time.sleep(moment)
    alive = running.is_running()
    running.kill()
    print(f"{name}: {'killed' if alive else 'was over'} after {moment:.2f} s; {len(place.runs())} cells are finished")
    return alive


def disturb(folder: Path, undisturbed: Chain, kills: int, caplog: pytest.LogCaptureFixture) -> None:
    """Run the chain with so many kills of each command, then compare all it left with the undisturbed one.

    A command that has done a part of its work is over sooner: moments are drawn from what is left of it.
    """
    drawn = seed()
    print(f"PRETUNE_FAULTS_SEED={drawn}")
    rng = random.Random(drawn)
    place = make_place(folder, folder / "cache")
    twin = load(undisturbed.place.study)
    witness = Witness(place, twin)
    caplog.set_level(logging.WARNING)
    for name in COMMANDS:
        met, longest = 0, undisturbed.seconds[name]
        while met < kills:
            moment = rng.uniform(0.0, longest)
            if kill_once(name, place, moment):
                met += 1
            else:
                longest = moment
            witness.look()
        result = run(*words(name, place), cwd=place.cwd)
        assert result.status == 0, result.text
        witness.look()
    assert caplog.records == [], "something was read that is not whole"
    pd.testing.assert_frame_equal(values(place.study), values(undisturbed.place.study), check_exact=True)
    assert rungs(place.cache) == rungs(undisturbed.place.cache)
    for table in ("results.csv", "index.html"):
        assert (place.study / "report" / table).read_bytes() == (
            undisturbed.place.study / "report" / table
        ).read_bytes()
    weights = [sorted(p.study.glob("runs/train-*/model/model.safetensors")) for p in (place, undisturbed.place)]
    assert [path.read_bytes() for path in weights[0]] == [path.read_bytes() for path in weights[1]]
    assert litter(place) == []


def litter(place: Place) -> list[Path]:
    """What killed processes left behind and nobody removed."""
    left = [path for name in ("claims", "work") for path in (place.study / name).rglob("*") if path.is_file()]
    hidden = [path for path in place.study.rglob(".*") if path.parent.name == "runs"]
    partial = [path for path in place.cache.rglob("*") if path.name.startswith(".step") or path.suffix == ".claim"]
    return [*left, *hidden, *partial]


def test_a_few_kills_in_every_kind_of_command(
    tmp_path: Path, undisturbed: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    disturb(tmp_path, undisturbed, 1, caplog)


@pytest.mark.faults
@pytest.mark.parametrize("chain", range(2))
def test_fifteen_kills_of_one_chain(
    tmp_path: Path, undisturbed: Chain, caplog: pytest.LogCaptureFixture, chain: int
) -> None:
    disturb(tmp_path, undisturbed, 3, caplog)
