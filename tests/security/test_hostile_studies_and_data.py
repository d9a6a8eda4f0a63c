"""Studies, tables and data sets of a stranger run nothing, and lead no writer out of the study's folder."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.config.science import Task
from pretune.data.files import read_folder
from pretune.data.remote import load_dataset
from pretune.errors import PretuneError, UsageError
from pretune.published import read_published
from pretune.results import load
from pretune.results.links import refuse_links
from pretune.results.schema import METRIC_COLUMNS
from pretune.results.store import Study
from support.commands import run
from support.records import make_record, publish


@pytest.fixture
def hostile_table(payload):
    """Extension types and pandas metadata that would be unpickled by a careless reader."""
    pickled = pickle.dumps(payload)
    described = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled}
    fields = [pa.field("family", pa.string(), metadata=described)]
    fields += [pa.field(name, pa.string()) for name in ("checkpoint", "eval_task", "metric")]
    fields.append(pa.field("value", pa.float64()))
    columns = [["x"], ["main"], ["nli"], ["accuracy"], [0.5]]
    kind = {"name": None, "field_name": None, "pandas_type": "object", "numpy_type": "object", "metadata": None}
    pandas = {"index_columns": ["value"], "columns": [kind], "column_indexes": [kind], "pickle": pickled.hex()}
    schema = pa.schema(fields, metadata={b"pandas": json.dumps(pandas).encode(), b"pickle": pickled})
    return pa.table(columns, schema=schema)


def test_a_published_table(tmp_path, hostile_table, mark):
    pq.write_table(hostile_table, tmp_path / "table.parquet")
    assert read_published(tmp_path / "table.parquet", "tidy").table["value"].tolist() == [0.5]
    assert not mark.exists()


def test_the_metrics_of_a_run(tmp_path, hostile_table, mark, caplog):
    study = Study(tmp_path / "study")
    publish(study, make_record())
    folder = study.run_dir("evaluate-a-0123456789ab")
    pq.write_table(hostile_table, folder / "metrics.parquet")
    (folder / "SHA256SUMS").unlink()  # a stranger would write the right sums
    with caplog.at_level(logging.WARNING):
        assert list(load(study.root).columns) == list(METRIC_COLUMNS)
    assert not mark.exists()
    assert "metrics.parquet" in caplog.text


def test_the_configuration_of_a_run(tmp_path, mark):
    study = Study(tmp_path / "study")
    publish(study, make_record())
    folder = study.run_dir("evaluate-a-0123456789ab")
    (folder / "SHA256SUMS").unlink()
    (folder / "config.yaml").write_text(f"x: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(PretuneError, match=r"config\.yaml"):
        study.read_config("evaluate-a-0123456789ab")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "../../victim", "/victim", "a/b", ""])
def test_names_of_runs_do_not_lead_out(tmp_path, name):
    study = Study(tmp_path / "study")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "failure.json").write_text("{}")
    (victim / "run.json").write_text("{}")
    study.index.mkdir(parents=True)
    (study.index / "key.json").write_text(json.dumps({"run_id": name}))
    assert study.find_finished("key") is None
    with pytest.raises(UsageError, match="not the name of a run"):
        study.clear_failure(name)
    assert (victim / "failure.json").exists()


@pytest.mark.parametrize("place", ["report", "runs", "logs", "report/tables", "report/figures", "report/results.csv"])
def test_links_in_a_study_are_refused_before_anything_is_written(tmp_path, place):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.csv").write_text("precious")
    study, work = tmp_path / "study", tmp_path / "work"
    work.mkdir()
    publish(Study(study), make_record())
    if place == "runs":
        (study / "runs").rename(tmp_path / "elsewhere")
    (study / place).parent.mkdir(exist_ok=True)
    (study / place).symlink_to(victim / "precious.csv" if place.endswith(".csv") else victim)
    with pytest.raises(UsageError, match="is a link"):
        refuse_links(study)
    result = run("report.py", f"study_dir={study}", "logger=none", cwd=work)
    assert result.status == 2
    assert f"{study}/{place} is a link" in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in victim.iterdir()] == ["precious.csv"]
    assert (victim / "precious.csv").read_text() == "precious"


def test_a_linked_study_folder_is_the_users_own_affair(tmp_path):
    publish(Study(tmp_path / "study"), make_record())
    (tmp_path / "link").symlink_to(tmp_path / "study")
    refuse_links(tmp_path / "link")


def test_a_folder_of_rows_with_code_and_pickles(tmp_path, payload, code, mark, hostile_table):
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "rows.py").write_text(code)
    (rows / "__init__.py").write_text(code)
    (rows / "train.pkl").write_bytes(pickle.dumps(payload))
    task = Task(name="x", family="x", source="path", path=str(rows))
    with pytest.raises(PretuneError, match=r"train\.parquet"):
        read_folder(task, "train")
    pq.write_table(hostile_table, rows / "train.parquet")
    assert read_folder(task, "train")[0]["family"] == "x"
    assert not mark.exists()


def test_scripts_and_archives_of_data_sets(tmp_path, payload, code, mark, monkeypatch):
    how = {"cache_dir": str(tmp_path / "cache")}
    script = tmp_path / "scripted"
    script.mkdir()
    (script / "scripted.py").write_text(code)
    with pytest.raises(Exception, match=r"[Ss]cripts are no longer|doesn't contain|No \(supported\)"):
        load_dataset(str(script), None, split="train", **how)
    archived = tmp_path / "archived"
    archived.mkdir()
    with zipfile.ZipFile(archived / "train.zip", "w") as archive:
        archive.writestr("../../../escaped.jsonl", '{"x": 1}')
        archive.writestr("train.jsonl", '{"x": 1}')
    with contextlib.suppress(Exception):  # whether archives are read is the library's affair
        load_dataset(str(archived), None, split="train", **how)
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("a.pyd", "a.pickle", "a.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(payload))
    with tarfile.open(packed / "train.tar", "w") as tar:
        for name in ("a.pyd", "a.pickle", "a.pth"):
            tar.add(tmp_path / name, arcname=name)
    with contextlib.suppress(Exception):
        list(load_dataset(str(packed), None, split="train", **how))
    assert not mark.exists()
    assert not [path for path in tmp_path.rglob("escaped.jsonl") if "cache" not in path.parts]
