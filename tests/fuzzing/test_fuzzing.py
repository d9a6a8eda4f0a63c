"""Whatever bytes and values come in: the readers answer with rows or with one of our errors, never with another one."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.checkpoints.revisions import Ref, parse_revisions
from pretune.config.diagnosis import find_all, is_refusal
from pretune.config.running import TrainConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint, Task
from pretune.config.trust import find_code
from pretune.config.wording import check_repository
from pretune.data.examples import Example
from pretune.data.readers import READERS
from pretune.errors import PretuneError
from pretune.published import read_published
from pretune.results import load
from pretune.results.schema import METRIC_COLUMNS
from pretune.results.store import Study
from support.configs import CONFIG, HUB, config_loader

TEXT = st.text(max_size=24) | st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\u202e",
        "\u2028",
        "nan",
        "-1",
        "1e999",
        "0x10",
        "٣",
        "../x",
        "{",
        "${x}",
        "a" * 5000,
        "true",
        "null",
    ]
)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
BYTES = st.binary(max_size=200)

Fuzzed = Callable[[Callable[..., None]], None]


@pytest.fixture(
    params=[pytest.param(60, id="short"), pytest.param(1000, id="long", marks=pytest.mark.fuzzing)], scope="module"
)
def fuzz(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Call a function with many drawn values."""

    def run(function: Callable[..., None], *, share: int = 1, **strategies: st.SearchStrategy[Any]) -> None:
        how = settings(
            max_examples=request.param // share,
            deadline=None,
            derandomize=request.param < 100,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        how(given(**strategies)(function))()

    return run


def allow_ours(function: Callable[[], Any]) -> Any:
    """The value, or ``None`` where it ended with an error of ours in a few short lines."""
    try:
        return function()
    except PretuneError as error:
        said = str(error)
    assert said.strip()
    assert len(said.splitlines()) <= 8
    return None


COLUMNS = [
    "premise",
    "hypothesis",
    "label",
    "text",
    "question",
    "choices",
    "answerKey",
    "answer",
    "messages",
    "context",
    "chosen",
    "instruction",
    "input",
    "output",
    "endings",
    "ctx",
    "option1",
    "option2",
    "sentence",
    "Question",
    "Tweet",
    "Answer",
    "correct_answer",
    "distractor1",
    "distractor2",
    "distractor3",
    "support",
    "score",
    "answerA",
    "answerB",
    "answerC",
    "mc1_targets",
    "best_answer",
    "goal",
    "sol1",
    "sol2",
    "activity_label",
]
ROW = st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, VALUE))


@pytest.mark.parametrize("reader", sorted(READERS))
def test_row_readers(fuzz, reader):
    def check(row, label, fields, options):
        task = Task(
            name="x", family="x", reader=reader, label=label, fields=dict.fromkeys(("a", "b"), fields), labels=options
        )
        example = allow_ours(lambda: READERS[reader](row, task, "0"))
        if example is not None:
            assert isinstance(example, Example)
            assert all(isinstance(text, str) for text in (*example.fields.values(), *example.options))
            assert example.gold is None or not example.options or 0 <= example.gold < len(example.options)

    names = st.sampled_from(["label", "text", "answer", "answerKey", "score", "messages", "nowhere"])
    labels = st.sampled_from([{}, {"0": "yes", "1": "no"}, {"a": "b"}])
    fuzz(check, row=ROW, label=st.none() | names, fields=names, options=labels)


@pytest.mark.parametrize("format_name", ["amuro_char", "pythia", "tidy"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_importers_of_tables(fuzz, tmp_path, format_name, ending):
    path = tmp_path / f"table{ending}"
    columns = ["model_id", "eval dataset", "Performance", "std", "model", "step", "num_fewshot", "task", "metric",
               "value", *METRIC_COLUMNS]  # fmt: skip

    def check(content):
        path.write_bytes(content)
        published = allow_ours(lambda: read_published(path, format_name))
        if published is not None:
            assert list(published.table.columns) == list(METRIC_COLUMNS)

    row = st.dictionaries(st.sampled_from(columns) | TEXT, LEAF, max_size=8)
    lines = row.map(lambda data: json.dumps(data).encode() + b"\n")
    tables = st.lists(st.lists(LEAF.map(str), max_size=6), max_size=4).map(write_csv)
    fuzz(check, content=BYTES | lines | tables)


def write_csv(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([["model", "step", "num_fewshot", "task", "metric", "value"], *rows])
    return file.getvalue().encode("utf-8", "surrogatepass")


def test_importer_of_the_harness(fuzz, tmp_path):
    path = tmp_path / "results_x.json"

    def check(content):
        path.write_text(json.dumps(content), encoding="utf-8", errors="replace")
        allow_ours(lambda: read_published(path, "lm_eval"))

    metrics = st.dictionaries(st.sampled_from(["acc,none", "acc_stderr,none", "x"]) | TEXT, VALUE, max_size=3)
    tasks = st.dictionaries(TEXT, metrics | VALUE, max_size=2)
    known = st.fixed_dictionaries(
        {"results": tasks},
        optional={
            "config": VALUE | st.fixed_dictionaries({"model_args": VALUE}), "model_name": VALUE, "groups": VALUE,
            "n-shot": VALUE, "n-samples": VALUE,
        },
    )  # fmt: skip
    fuzz(check, content=VALUE | known)


def test_records_of_runs(fuzz, tmp_path, caplog):
    study = Study(tmp_path)
    folder = study.runs / "evaluate-x-0123456789ab"
    folder.mkdir(parents=True)
    files = ("run.json", "config.yaml", "failure.json", "metrics.parquet")

    def check(name, content):
        for other in files:
            (folder / other).unlink(missing_ok=True)
        (folder / "run.json").write_text("{}")
        (folder / name).write_bytes(content)
        fresh = Study(tmp_path)
        list(fresh.failures())
        allow_ours(lambda: fresh.read_run(folder.name))
        allow_ours(lambda: fresh.read_config(folder.name))
        assert list(load(tmp_path).columns) == list(METRIC_COLUMNS)

    caplog.set_level(logging.CRITICAL, logger="pretune")
    structured = VALUE.map(lambda data: json.dumps(data).encode())
    fuzz(check, name=st.sampled_from(files), content=BYTES | structured | VALUE.map(parquet_of))


def parquet_of(data: Any) -> bytes:
    """A Parquet file that holds ``data`` in some of the columns."""
    sink = io.BytesIO()
    try:
        pq.write_table(pa.table({name: pa.array([data]) for name in list(METRIC_COLUMNS)[:5]}), sink)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        pq.write_table(pa.table({"run_id": ["x"]}), sink)
    return sink.getvalue()


def test_revisions(fuzz):
    def check(names, pattern):
        refs = [Ref(name=name, commit="c" * 40) for name in names]
        for revision in allow_ours(lambda: parse_revisions(checkpoint(pattern), refs)) or ():
            assert revision.name in names
            assert isinstance(revision.step, int)

    def checkpoint(pattern):
        return Checkpoint(**{**{f: getattr(HUB, f) for f in HUB.__dataclass_fields__}, "pattern": pattern})

    step = st.integers(0, 10**30).map(lambda n: f"step{n}-tokens{n}B")
    patterns = st.sampled_from([HUB.pattern, r"step(?P<step>\d+)", r"(?P<phase>.*)-step(?P<step>\d*)"])
    fuzz(check, names=st.lists(TEXT | step, max_size=4), pattern=patterns)


def test_overrides(fuzz):
    with config_loader() as loader:

        def check(key, value):
            words = ["checkpoint=pico/step64", "task=pico/nli", f"{key}={value}"]
            refused: Exception | None = None
            try:
                assert all(str(problem) for problem in find_all("train", words, loader, sweeping=False))
            except Exception as error:  # noqa: BLE001 - what is left to Hydra's own message must be a refusal of Hydra's
                refused = error
            assert refused is None or isinstance(refused, PretuneError) or is_refusal(refused), repr(refused)

        keys = st.sampled_from(["seed", "task", "optimizer.lr", "task.fields", "+x", "~seed", "task.labels", ""]) | TEXT
        fuzz(check, share=12, key=keys, value=TEXT | VALUE.map(json.dumps))


def test_plain_data_for_the_schema(fuzz):
    from omegaconf.errors import OmegaConfBaseException

    def check(key, value):
        with contextlib.suppress(PretuneError, OmegaConfBaseException):
            freeze(TrainConfig, {key: value})

    fuzz(check, key=st.sampled_from([*CONFIG.__dataclass_fields__]) | TEXT, value=VALUE)


def test_yaml_of_config_folders(fuzz, tmp_path):
    path = tmp_path / "x.yaml"

    def check(content):
        path.write_bytes(content)
        for reason in find_code(path):
            assert len(reason.splitlines()) == 1

    texts = VALUE.map(lambda data: yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))
    words = [
        "a:_",
        "-_",
        "&x_",
        "*x",
        "!!python/name:os_",
        "{",
        "}",
        "[",
        "]",
        "<<:_",
        "?",
        "|",
        "'",
        "#",
        "@package_hydra",
        "%YAML_1.1",
        "---",
    ]
    piece = st.sampled_from([*(word.replace("_", " ") for word in words), "\n", "  ", "\t"])
    pieces = st.lists(piece, max_size=14).map(lambda parts: "".join(parts).encode())
    fuzz(check, content=BYTES | texts | pieces)


def test_names_of_repositories(fuzz):
    fuzz(lambda name: None if list(check_repository("x", name)) else None, name=st.none() | TEXT)


def test_tables_survive_a_round_trip_through_csv(fuzz, tmp_path):
    """What a spreadsheet might take for a formula is not altered: the CSV files are data."""
    path = tmp_path / "table.csv"

    def check(values):
        frame = pd.DataFrame({"x": values})
        frame.to_csv(path, index=False)
        with Path(path).open(newline="", encoding="utf-8") as file:
            assert [row["x"] for row in csv.DictReader(file)] == values

    clean = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=20)
    fuzz(check, values=st.lists(clean | st.sampled_from(["=1+1", "+1", "-1", "@x", "\tx"]), min_size=1, max_size=4))
