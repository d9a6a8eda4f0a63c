"""Times of a study's finished cells, for the plan of others."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from pretune.config.probing import ProbeConfig
from pretune.config.running import TrainConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint, Task
from pretune.errors import PretuneError
from pretune.planning.calibration import Sample
from pretune.planning.costs import shape_of, work_of_evaluation, work_of_probe, work_of_training
from pretune.results.identity import canonical_json
from pretune.results.store import Study

T = TypeVar("T")

MOST_SAMPLES = 80
"""Finished runs of each kind that are read for their times: an even choice of them."""
LOOKED_AT: Mapping[type, tuple[str, ...]] = {
    Checkpoint: ("family", "source", "shape", "recipe"),
    TrainConfig: ("task", "stage", "regularizer", "trainer"),
    ProbeConfig: ("probe",),
}
"""Parts of a recorded configuration that say how much work a cell was; of a task all."""


def read_samples(study: Study) -> list[Sample]:
    """Times of the study's finished trainings, evaluations and probes, on the device that most of them ran on."""
    by_device: dict[str, list[Sample]] = {}
    for device, sample in SampleReader(study).read_some():
        by_device.setdefault(device, []).append(sample)
    return max(by_device.values(), key=len, default=[])


class SampleReader:
    """Reads finished runs. What many of them share (a model, a task, a recipe) is checked by the schema once."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._frozen: dict[tuple[type, str], Any] = {}

    def read_some(self) -> Iterator[tuple[str, Sample]]:
        """Device and sample of an even choice of the runs of each kind; damaged ones are left out."""
        by_kind = collections.defaultdict(list)
        for path in sorted(self._study.runs.glob("[!.]*-*")):
            by_kind[path.name.partition("-")[0]].append(path.name)
        for found in by_kind.values():
            for run_id in found[:: -(-len(found) // MOST_SAMPLES)]:
                try:
                    sample = self.read(run_id)
                except (PretuneError, OSError, KeyError, TypeError, ValueError):
                    continue
                if sample is not None:
                    yield sample

    def read(self, run_id: str) -> tuple[str, Sample] | None:
        """The device of a finished run and what it says; ``None`` where its work cannot be told."""
        if not (self._study.run_dir(run_id) / "run.json").is_file():
            return None
        run, config = self._study.read_run(run_id), self._study.read_config(run_id)
        checkpoint = self._freeze(Checkpoint, config["checkpoint"])
        shape, kind = shape_of(checkpoint), str(run["kind"])
        if shape is None or run["provenance"].get("resumed_at"):
            return None
        if kind == "train":
            train = self._freeze(TrainConfig, config)
            task = dataclasses.replace(train.task, train_rows=int(run["facts"]["rows"]))
            work = work_of_training(dataclasses.replace(train, task=task), shape)
            name = task.name
        elif kind == "evaluate":
            task = self._freeze(Task, config["task"])
            rows = int(run["facts"]["rows"]["rows"])
            per_row = config.get("shot_sampling") == "per_row"
            work = work_of_evaluation(task, shape, shots=int(config["shots"]), limit=rows, own_shots=per_row)
            name = task.name
        else:
            probe = self._freeze(ProbeConfig, config)
            tasks = [self._freeze(Task, task) for task in config["tasks"].values()]
            work = work_of_probe(
                probe, [work_of_evaluation(task, shape, shots=0, limit=config["limit"]) for task in tasks]
            )
            name = probe.probe.name
        sample = Sample(
            key=(kind, checkpoint.family, name),
            flops=work.flops + work.decoding,
            seconds=float(run["provenance"]["seconds"]),
        )
        return str(run["provenance"]["machine"]["device"]), sample

    def _freeze(self, cls: type[T], data: Mapping[str, Any]) -> T:
        part = {name: data[name] for name in LOOKED_AT.get(cls, data) if name in data}
        known = (cls, canonical_json(part))
        if known not in self._frozen:
            self._frozen[known] = freeze(cls, part)
        return cast(T, self._frozen[known])
