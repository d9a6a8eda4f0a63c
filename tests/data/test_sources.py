from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.data.sources import fingerprint, hash_path, load_split
from pretune.errors import DataError
from support.configs import NLI, change

ROWS = [{"premise": f"p{i}", "hypothesis": "h", "label": i % 3} for i in range(6)]


@pytest.fixture
def task(tmp_path):
    (tmp_path / "rows").mkdir()
    return change(change(NLI, "source", "path"), "path", str(tmp_path / "rows"))


def write_parquet(task, split, rows, folder=""):
    target = Path(task.path) / folder
    target.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), target / f"{split}.parquet")


def write_lines(task, split, *lines: str):
    (Path(task.path) / f"{split}.jsonl").write_bytes("\n".join(lines).encode())


def test_parquet_and_json_lines_give_the_same_examples(task):
    write_parquet(task, "train", ROWS)
    write_lines(task, "validation", *map(json.dumps, ROWS), "")
    one, two = load_split(task, "train"), load_split(task, "validation")
    assert one.examples == two.examples
    assert one.examples == two.examples
    assert (one.name, one.dropped, len(one.examples)) == ("train", 0, 6)
    assert [example.id for example in one.examples] == [str(i) for i in range(6)]


def test_folder_named_by_the_configuration_is_looked_into(task):
    write_parquet(task, "train", ROWS[:2], folder="one")
    write_parquet(task, "train", ROWS[:5], folder="two")
    for config, count in (("one", 2), ("two", 5)):
        assert len(load_split(change(task, "config", config), "train").examples) == count


def test_broken_json_is_named_with_its_line(task):
    write_lines(task, "train", json.dumps(ROWS[0]), "", '{"premise": ')
    with pytest.raises(DataError, match=r"train\.jsonl line 3 is not JSON"):
        load_split(task, "train")
    write_lines(task, "train", json.dumps(ROWS[0]), "[1]")
    with pytest.raises(DataError, match=r"train\.jsonl line 2 is not an object"):
        load_split(task, "train")


def test_text_that_is_no_utf8_is_named_with_its_line(task, tmp_path):
    (tmp_path / "rows" / "train.jsonl").write_bytes(json.dumps(ROWS[0]).encode() + b'\n{"premise": "\xff"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl line 2"):
        load_split(task, "train")


def test_only_a_line_feed_ends_a_line(task):
    text = "one\u2028two\u0085three"
    write_lines(task, "train", json.dumps({**ROWS[0], "premise": text}, ensure_ascii=False))
    (example,) = load_split(task, "train").examples
    assert example.fields["premise"] == text


def test_damaged_parquet_is_named(task, tmp_path):
    (tmp_path / "rows" / "train.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"task=nli: .*train\.parquet cannot be read"):
        load_split(task, "train")


def test_missing_split_names_those_there_are(task):
    write_parquet(task, "train", ROWS)
    write_lines(task, "validation", json.dumps(ROWS[0]))
    with pytest.raises(DataError, match=r"no vaildation\.parquet or .*did you mean validation\? valid: train, valid"):
        load_split(task, "vaildation")


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_folder_that_is_none_is_named(task, tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=rf"task\.path=.*{place}: no such folder"):
        load_split(change(task, "path", str(tmp_path / place)), "train")


def test_empty_split_is_refused(task):
    write_lines(task, "train", "")
    with pytest.raises(DataError, match="split 'train' is empty"):
        load_split(task, "train")


def test_rows_without_gold_are_dropped_and_counted(task, caplog):
    write_lines(task, "train", *[json.dumps({**row, "label": -1 if i < 2 else 1}) for i, row in enumerate(ROWS)])
    with caplog.at_level("INFO"):
        split = load_split(task, "train")
    assert (split.dropped, len(split.examples)) == (2, 4)
    assert [example.id for example in split.examples] == ["2", "3", "4", "5"]  # rows keep their own number
    assert "2 of 6 rows without a gold answer" in caplog.text


def test_hidden_labels_are_refused_with_the_split_to_use(task):
    write_lines(task, "test", *[json.dumps({**row, "label": -1}) for row in ROWS])
    with pytest.raises(DataError) as caught:
        load_split(task, "test", other_splits=("train", "", "validation", "test"))
    assert str(caught.value).startswith("task=nli: all 6 rows of split 'test' have hidden labels; use train, valid")


def test_missing_column_names_the_columns(task):
    write_parquet(task, "train", [{"premise": "p", "hypothesys": "h", "label": 0}])
    with pytest.raises(DataError, match=r"no column 'hypothesis'; did you mean hypothesys\?"):
        load_split(task, "train")


def test_rows_of_the_miniature_need_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = change(change(NLI, "source", "pico"), "name", "pico/nli")
    train, test = load_split(task, "train"), load_split(task, "test")
    assert train.examples
    assert test.examples
    assert fingerprint(train.examples) != fingerprint(test.examples)
    assert fingerprint(load_split(task, "train").examples) == fingerprint(train.examples)


def test_fingerprint_sees_content_and_order(task):
    write_parquet(task, "train", ROWS)
    examples = load_split(task, "train").examples
    assert fingerprint(examples) == fingerprint(tuple(examples))
    assert fingerprint(examples[::-1]) != fingerprint(examples)
    assert fingerprint((*examples[:-1], change(examples[-1], "gold", 0))) != fingerprint(examples)
    assert fingerprint((*examples[:-1], change(examples[-1], "fields.premise", "x"))) != fingerprint(examples)


def test_local_files_are_hashed_by_content_not_by_place(task, tmp_path):
    write_parquet(task, "train", ROWS)
    write_lines(task, "validation", json.dumps(ROWS[0]))
    moved = change(task, "path", str(tmp_path / "moved"))
    before = hash_path(task)
    (tmp_path / "rows").rename(tmp_path / "moved")
    assert hash_path(moved) == before
    (tmp_path / "moved" / "README.md").write_text("no rows")
    assert hash_path(moved) == before
    write_lines(moved, "validation", json.dumps(ROWS[1]))
    assert hash_path(moved) != before
    assert hash_path(NLI) is None
