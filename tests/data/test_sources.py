from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.config.science import Task
from pretune.data.examples import Example, Turn
from pretune.data.files import hash_path
from pretune.data.sources import fingerprint, load_split
from pretune.errors import DataError
from support.configs import NLI, change, read_option
from support.rows import write_split

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
    with pytest.raises(
        DataError, match=r"none of vaildation\.parquet, .*did you mean validation\? valid: train, valid"
    ):
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


def test_rows_with_an_empty_input_or_option_are_dropped_and_counted_apart(task):
    rows = [{**row, "premise": "" if i < 2 else "p", "label": -1 if i == 5 else 0} for i, row in enumerate(ROWS)]
    write_lines(task, "train", *map(json.dumps, rows))
    split = load_split(task, "train")
    assert (split.dropped, split.empty, len(split.examples)) == (1, 2, 3)
    choice = read_option("task", "piqa", Task)
    choice = change(change(choice, "source", "path"), "path", task.path)
    options = [{"goal": "g", "sol1": "one", "sol2": text, "label": 0} for text in ("two", " ")]
    write_lines(choice, "validation", *map(json.dumps, options))
    assert (load_split(choice, "validation").empty, len(load_split(choice, "validation").examples)) == (1, 1)
    write_lines(task, "test", json.dumps({**ROWS[0], "premise": ""}))
    with pytest.raises(DataError, match="all 1 labelled rows of split 'test' have an empty input"):
        load_split(task, "test")


def test_splits_joined_by_a_plus_are_read_one_after_the_other(task):
    write_lines(task, "a", *map(json.dumps, ROWS[:2]))
    write_parquet(task, "b", ROWS[2:])
    split = load_split(task, "a+b")
    assert [example.fields["premise"] for example in split.examples] == [row["premise"] for row in ROWS]
    assert [example.id for example in split.examples] == [str(index) for index in range(6)]


def test_names_of_the_labels_are_checked_where_the_data_set_has_them(task, tmp_path):
    task = change(task, "label_names", ("entailment", "neutral", "contradiction"))
    names = {"label": ["entailment", "neutral", "contradiction"]}
    write_split(tmp_path / "rows" / "train.parquet", ROWS, names)
    assert len(load_split(task, "train").examples) == 6
    write_split(tmp_path / "rows" / "test.parquet", ROWS, {"label": ["contradiction", "neutral", "entailment"]})
    with pytest.raises(DataError, match=r"names its labels \['contradiction', 'neutral', 'entailment'\], not \['ent"):
        load_split(task, "test")
    write_parquet(task, "validation", ROWS)  # no names: nothing to compare
    assert len(load_split(task, "validation").examples) == 6


TEXT = Task(name="text", family="text", answer="language", source="path", label="text", train_split=None)


def test_plain_text_files_are_documents(tmp_path):
    task = change(TEXT, "path", str(tmp_path))
    for name, text in (("b", "two\n\nlines"), ("a", "\ufeffé 鳥"), ("c", "")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    split = load_split(task, "anything")
    assert [example.target for example in split.examples] == ["é 鳥", "two\n\nlines"]
    assert split.dropped == 1
    before = hash_path(task)
    (tmp_path / "test.txt").write_text("the test text")
    assert [example.target for example in load_split(task, "test").examples] == ["the test text"]
    with pytest.raises(DataError, match=r"none of train\.parquet, train\.jsonl, train\.txt, train\.json is there"):
        load_split(task, "train")
    assert hash_path(task) != before
    (tmp_path / "d.txt").write_bytes(b"\xff")
    (tmp_path / "test.txt").unlink()
    with pytest.raises(DataError, match=r"d\.txt is not UTF-8"):
        load_split(task, "test")


def test_a_folder_named_by_the_split_is_read_in_the_order_of_its_names(task):
    (Path(task.path) / "train").mkdir()
    write_lines(task, "train/part2", json.dumps(ROWS[1]))
    write_parquet(task, "train/part1", ROWS[:1])
    assert [example.fields["premise"] for example in load_split(task, "train").examples] == ["p0", "p1"]


def test_conversations_are_part_of_the_fingerprint():
    one, two = (Example(id="0", target="x", turns=(Turn(role="user", text=text),)) for text in ("a", "b"))
    assert fingerprint((one,)) != fingerprint((two,))


def test_a_fixed_sample_of_a_large_split_is_read(task):
    write_parquet(task, "train", [{**ROWS[0], "premise": f"p{i}"} for i in range(100)])
    split = load_split(change(task, "sample_rows", 20), "train")
    numbers = [int(example.fields["premise"][1:]) for example in split.examples]
    assert len(set(numbers)) == 20
    assert numbers == sorted(numbers)
    assert numbers != list(range(20))
    assert load_split(change(task, "sample_rows", 20), "train").examples == split.examples
    assert len(load_split(change(task, "sample_rows", 200), "train").examples) == 100


def test_a_number_that_is_none_is_an_empty_text(task):
    write_parquet(task, "train", [{"premise": value, "hypothesis": "h", "label": 0} for value in (1.5, float("nan"))])
    split = load_split(task, "train")
    assert ([example.fields["premise"] for example in split.examples], split.empty) == (["1.5"], 1)


def test_a_json_list_is_read_and_anything_else_is_refused(tmp_path):
    task = change(change(NLI, "source", "path"), "path", str(tmp_path))
    rows = [{"premise": "p", "hypothesis": "h", "label": label} for label in (0, 2)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    assert [example.gold for example in load_split(task, "train").examples] == [0, 2]
    for text, message in (
        ("{}", "is not a list of objects"),
        ("[1]", "is not a list of objects"),
        ("[", "is not JSON"),
    ):
        (tmp_path / "train.json").write_text(text)
        with pytest.raises(DataError, match=message):
            load_split(task, "train")


def test_a_json_file_beside_documents_describes_them_and_is_none(tmp_path):
    task = change(TEXT, "path", str(tmp_path))
    (tmp_path / "a.txt").write_text("a text")
    (tmp_path / "about.json").write_text("{}")
    assert [example.target for example in load_split(task, "test").examples] == ["a text"]
