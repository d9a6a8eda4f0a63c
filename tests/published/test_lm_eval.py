"""Result files as the harness itself writes them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from pretune.errors import DataError
from pretune.published import read_published

RESULTS = {
    "arc_easy": {"name": "arc_easy", "alias": "arc_easy", "sample_len": 40, "acc,none": 0.55, "acc_stderr,none": 0.08,
                 "acc_norm,none": 0.5, "acc_norm_stderr,none": 0.08},
    "gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": 0.02,
              "exact_match,flexible-extract": 0.2, "exact_match_stderr,flexible-extract": "N/A"},
    "wikitext": {"alias": "wikitext", "word_perplexity,none": 31.5, "word_perplexity_stderr,none": "N/A"},
    "group": {"alias": "group", "acc,none": 0.4, "acc_stderr,none": 0.1},
}  # fmt: skip


def _content(revision="step1000"):
    return {
        "results": RESULTS, "groups": {"group": RESULTS["group"]},
        "n-shot": {"arc_easy": 5, "gsm8k": 8, "wikitext": 0},
        "n-samples": {"arc_easy": {"original": 2376, "effective": 40}, "gsm8k": {"original": 9, "effective": 9}},
        "config": {"model": "hf", "model_num_parameters": 162322944,
                   "model_args": {"pretrained": "EleutherAI/pythia-160m", "revision": revision}},
        "date": 1.0,
    }  # fmt: skip


def _sample(index, right):
    return {"doc_id": index, "doc": {}, "target": 0, "arguments": [("a", "b")], "resps": [[(-1.0, True)]],
            "filtered_resps": [(-1.0, True)], "filter": "none", "metrics": ["acc"], "doc_hash": "", "prompt_hash": "",
            "target_hash": "", "acc": float(right)}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that the harness's own tracker wrote: two revisions, one with samples."""
    tracking = pytest.importorskip("lm_eval.loggers.evaluation_tracker", reason="lm_eval is not installed")
    folder = tmp_path_factory.mktemp("harness")
    for revision in ("step1000", "step2000"):
        tracker = tracking.EvaluationTracker(output_path=str(folder / revision))
        tracker.general_config_tracker.log_experiment_args(
            model_source="hf", model_args=f"pretrained=EleutherAI/pythia-160m,revision={revision}",
            system_instruction=None, chat_template=None, fewshot_as_multiturn=False,
        )  # fmt: skip
        tracker.save_results_aggregated(_content(revision), samples={})
        if revision == "step2000":
            tracker.save_results_samples("arc_easy", [_sample(i, i % 40 < 22) for i in range(40)])
    return folder


def test_files_of_the_harness(written):
    found = read_published(written, "lm_eval")
    table = found.table
    assert set(table["family"]) == {"EleutherAI/pythia-160m (lm_eval)"}
    assert sorted(set(table["step"])) == [1000, 2000]
    assert set(table["params"]) == {162322944}
    assert "group" not in set(table["eval_task"])
    arc = table[(table["eval_task"] == "arc_easy") & (table["scorer"] == "sum")].set_index("step")
    assert (arc.loc[1000, "metric"], arc.loc[1000, "shots"], arc.loc[1000, "n"]) == ("accuracy", 5, 40)
    assert arc.loc[1000, "ci_low"] == pytest.approx(0.55 - 1.96 * 0.08)
    assert arc.loc[2000, "ci_low"] == pytest.approx(0.55 - 1.96 * 0.08, abs=0.03)
    assert arc.loc[2000, "ci_low"] != arc.loc[1000, "ci_low"]  # from the samples
    gsm = table[(table["eval_task"] == "gsm8k") & (table["step"] == 1000)].set_index("scorer")
    assert gsm["value"].to_dict() == {"generate (strict-match)": 0.1, "generate (flexible-extract)": 0.2}
    assert pd.isna(gsm.loc["generate (flexible-extract)", "ci_low"])
    assert set(table.loc[table["eval_task"] == "wikitext", "metric"]) == {"word_perplexity"}
    assert found.primary["arc_easy"] == ("accuracy", "sum")


def test_one_file_with_arguments_as_text_and_no_revision(tmp_path):
    content = _content()
    content["config"]["model_args"] = "pretrained=allenai/OLMo-1B-hf,dtype=float32"
    path = tmp_path / "results_x.json"
    path.write_text(json.dumps(content))
    found = read_published(path, "lm_eval")
    assert set(found.table["checkpoint"]) == {"main"}
    assert found.table["step"].isna().all()
    assert "main" in found.notes[-1]
    assert "unknown" in found.notes[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": []}, "field 'results' is list, not an object"),
        ({"results": {"t": 3}}, "field 'results.t' is int, not an object"),
        ({"results": {"t": {"acc,none": "high"}}}, "field 'results.t.acc,none' is 'high', not a number"),
        ({"config": {}}, "names the model"),
    ],
)
def test_files_of_something_else(tmp_path, change, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(_content() | change))
    with pytest.raises(DataError) as raised:
        read_published(path, "lm_eval")
    assert str(path) in str(raised.value)
    assert message in str(raised.value)


def test_no_files_and_no_json(tmp_path):
    with pytest.raises(DataError, match="no results"):
        read_published(tmp_path, "lm_eval")
    (tmp_path / "results_1.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_published(tmp_path, "lm_eval")
