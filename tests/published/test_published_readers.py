"""The readers on small files written here: what they make of good rows, and what they say of bad ones."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from pretune.errors import DataError, UsageError
from pretune.published import read_published
from pretune.results.schema import METRIC_COLUMNS

HEAD = ",model_id,eval dataset,Performance,std"
GOOD = [
    "0,olmo1b_checkpoint-18000_original_hf_4shots,mnli_matched,0.335,0.005",
    "1,olmo1b_hf_ckpt18000_mnli_3epoch_2e-6_4shots,mnli_matched,0.557,0.005",
    "2,olmo1b_hf_main_xsum_3epoch_2e-7,socialiqa_instruct,0.021,0.001",
    "3,olmo1b_original_hf_4shots,xsum_inputoutput,0.07,0.001",
    "4,checkpoint-1000_4shots,socialiqa,0.018,0.001",
    "5,olmo1b_hf_main_mnli_3epoch_2e-5_4shots,mnli_matched,0.7,0.005",
]


def _write(folder, lines, name="table.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_of_the_reference_study(tmp_path):
    found = read_published(_write(tmp_path, [HEAD, *GOOD]), "amuro_char")
    assert list(found.table.columns) == list(METRIC_COLUMNS)
    table = found.table[found.table["scorer"] != "baseline"].reset_index(drop=True)
    assert table["run_id"].tolist() == [f"published:amuro_char:table.csv:{line}" for line in range(2, 7)]
    assert set(table["family"]) == {"olmo1b (amuro_char)"}
    assert table["step"].tolist() == [18000, 18000, 738020, 738020, 1000]
    assert table["checkpoint"].tolist() == ["step18000", "step18000", "main", "main", "step1000"]
    assert table["state"].tolist() == ["base", "tuned", "tuned", "base", "base"]
    assert table["eval_task"].tolist() == ["mnli", "mnli", "socialiqa", "xsum", "socialiqa"]
    assert table["eval_format"].tolist() == ["default", "default", "instruct", "io", "default"]
    assert table["shots"].tolist() == [4, 4, 0, 4, 4]
    assert table["relation"].tolist()[1:3] == ["in_domain", "cross_task"]
    assert (table["lr"][1], table["lr"][2]) == (2e-6, 2e-7)
    assert table["ci_high"][1] == pytest.approx(0.557 + 1.96 * 0.005)
    assert "line 7" in found.notes[-1]
    baseline = found.table[found.table["scorer"] == "baseline"]
    assert baseline[["eval_task", "value"]].to_numpy().tolist() == [["mnli", 0.3545]]
    assert found.primary["xsum"] == ("rouge_l", "generate")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("1,gpt2_4shots,mnli_matched,0.5,0.1", ["line 3", "model_id", "gpt2_4shots"]),
        ("1,olmo1b_original_hf,imagenet,0.5,0.1", ["line 3", "eval dataset", "imagenet"]),
        ("1,olmo1b_original_hf,xsum,high,0.1", ["line 3", "Performance", "'high'"]),
        ("1,olmo1b_original_hf,xsum,1.5,0.1", ["line 3", "1.5"]),
        ("1,olmo1b_original_hf,xsum,0.5,nan", ["line 3", "std"]),
        ("1,olmo1b_original_hf,xsum,0.5", ["line 3", "5 fields"]),
        ("1,,xsum,0.5,0.1", ["line 3", "model_id"]),
    ],
)
def test_bad_rows_are_named_by_file_line_and_field(tmp_path, line, parts):
    path = _write(tmp_path, [HEAD, GOOD[0], line])
    with pytest.raises(DataError) as raised:
        read_published(path, "amuro_char")
    for part in [str(path), *parts]:
        assert part in str(raised.value)


def test_missing_columns_files_and_formats(tmp_path):
    path = _write(tmp_path, ["a,b", "1,2"])
    with pytest.raises(DataError, match=r"line 2: the columns \['model_id'"):
        read_published(path, "amuro_char")
    with pytest.raises(UsageError, match="no such file"):
        read_published(tmp_path / "none.csv", "tidy")
    with pytest.raises(UsageError, match="did you mean tidy"):
        read_published(path, "tidi")
    with pytest.raises(DataError, match="'.xlsx' is not a kind of table"):
        read_published(_write(tmp_path, ["x"], "table.xlsx"), "tidy")


def _pythia(folder, extra=()):
    rows = [
        ("pythia-160m", 1000, 0, "piqa", "acc", 0.6), ("pythia-160m", 1000, 0, "piqa", "acc_stderr", 0.01),
        ("pythia-160m", 1000, 0, "piqa", "acc_norm", 0.61), ("pythia-160m", 1000, 5, "lambada", "ppl", 55.0), *extra,
    ]  # fmt: skip
    path = folder / "evals.parquet"
    pd.DataFrame(rows, columns=["model", "step", "num_fewshot", "task", "metric", "value"]).to_parquet(path)
    return path


def test_rows_of_the_pythia_suite(tmp_path):
    table = read_published(_pythia(tmp_path), "pythia").table.set_index("run_id")
    assert len(table) == 3
    row = table.loc["published:pythia:evals.parquet:1"]
    assert (row["metric"], row["scorer"], row["value"]) == ("accuracy", "sum", 0.6)
    assert (row["ci_low"], row["tokens"]) == (pytest.approx(0.6 - 1.96 * 0.01), 1000 * 2_097_152)
    assert table.loc["published:pythia:evals.parquet:3", "scorer"] == "per_byte"
    assert pd.isna(table.loc["published:pythia:evals.parquet:3", "ci_low"])
    assert table.loc["published:pythia:evals.parquet:4", "metric"] == "perplexity"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("pythia-160m", 1000, 0, "piqa", "acc", 0.7), "line 5: acc of piqa at step 1000, 0 shots, stands on line 1"),
        (("pythia-160m", 1000, 0, "wsc", "f1", 0.7), "line 5: field 'metric' is 'f1'; valid: acc"),
        (("pythia-160m", 1000, 0, "wsc", "acc", math.nan), "line 5: field 'value' is None, not a finite number"),
    ],
)
def test_bad_rows_of_the_suite(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_published(_pythia(tmp_path, [row]), "pythia")


def test_tidy_rows_take_defaults_and_keep_their_source_apart(tmp_path):
    lines = ["family,checkpoint,step,eval_task,metric,value,annealed", "mine,step8,8,nli,accuracy,0.5,true"]
    row = read_published(_write(tmp_path, lines), "tidy").table.iloc[0]
    assert (row["family"], row["state"], row["kind"], row["scorer"]) == ("mine (tidy)", "base", "evaluate", "sum")
    assert (row["step"], row["annealed"], row["value"]) == (8, True, 0.5)
    assert row["run_id"] == "published:tidy:table.csv:2"


def test_tidy_jsonl(tmp_path):
    row = {"family": "f", "checkpoint": "c", "eval_task": "t", "metric": "loss", "value": 2.5, "state": "tuned",
           "train_task": "t", "seed": 3, "run_id": "r"}  # fmt: skip
    path = _write(tmp_path, [json.dumps(row), "", json.dumps(row | {"seed": 4})], "rows.jsonl")
    table = read_published(path, "tidy").table
    assert table["seed"].tolist() == [3, 4]
    assert table["run_id"].tolist() == ["published:tidy:rows.jsonl:1:r", "published:tidy:rows.jsonl:3:r"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accurracy": 1}, "'accurracy' is not a column of the results table"),
        ({"seed": 1.5}, "field 'seed' is 1.5, not a whole number"),
        ({"state": "trained"}, "field 'state' is 'trained': did you mean tuned? valid: base, tuned"),
        ({"annealed": "maybe"}, "field 'annealed' is 'maybe', neither true nor false"),
        ({"value": None}, "field 'value' is empty"),
        ({"value": True}, "field 'value' is True, not a finite number"),
    ],
)
def test_bad_tidy_rows(tmp_path, change, message):
    good = {"family": "f", "checkpoint": "c", "eval_task": "t", "metric": "accuracy", "value": 0.5}
    path = _write(tmp_path, [json.dumps(good), json.dumps(good | change)], "rows.jsonl")
    with pytest.raises(DataError) as raised:
        read_published(path, "tidy")
    assert f"{path}, line 2: {message}" in str(raised.value)


def test_text_that_is_no_json_is_named_by_its_line(tmp_path):
    with pytest.raises(DataError, match="line 1: not JSON"):
        read_published(_write(tmp_path, ["{"], "rows.jsonl"), "tidy")
    with pytest.raises(DataError, match="line 1: a JSON object is expected, not list"):
        read_published(_write(tmp_path, ["[]"], "rows.jsonl"), "tidy")
