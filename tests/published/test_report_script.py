"""``report.py`` on published results: alone, and beside a study's own."""

from __future__ import annotations

import pandas as pd

from pretune.results.store import Study
from support.commands import run
from support.records import make_record, publish

LINES = ["family,checkpoint,step,eval_task,metric,value,ci_low,ci_high"] + [
    f"theirs,step{step},{step},<b>task</b>,accuracy,{value},{value - 0.02:.2f},{value + 0.02:.2f}"
    for step, value in ((1, 0.3), (2, 0.5), (4, 0.7), (8, 0.7))
]


def _write(folder):
    path = folder / "theirs.csv"
    path.write_text("\n".join(LINES))
    return path


def test_a_report_on_published_results_alone(tmp_path):
    arguments = [f"study_dir={tmp_path}/study", f"published.file={_write(tmp_path)}", "published.format=tidy"]
    result = run("report.py", *arguments, cwd=tmp_path)
    assert result.status == 0, result.text
    page = (tmp_path / "study" / "report" / "index.html").read_text()
    assert "theirs (tidy)" in page
    assert "<b>task</b>" not in page
    assert len(pd.read_csv(tmp_path / "study" / "report" / "results.csv")) == 4


def test_beside_own_results_they_are_a_family_of_their_own(tmp_path):
    study = Study(tmp_path / "study")
    row = {"kind": "evaluate", "family": "theirs", "checkpoint": "step8", "step": 8, "state": "base", "n": 9,
           "eval_task": "nli", "eval_format": "default", "shots": 0, "scorer": "sum", "metric": "accuracy",
           "value": 0.5}  # fmt: skip
    request = {"kind": "evaluate", "task": {"name": "nli"}}
    publish(study, make_record(metrics=[row], request=request, facts={"primary": ["accuracy", "sum"]}))
    result = run("report.py", f"study_dir={study.root}", f"published.file={_write(tmp_path)}", cwd=tmp_path)
    assert result.status == 0, result.text
    table = pd.read_csv(study.root / "report" / "results.csv")
    assert set(table["family"]) == {"theirs", "theirs (tidy)"}


def test_mistakes_end_with_one_message(tmp_path):
    path = _write(tmp_path)
    result = run("report.py", f"study_dir={tmp_path}/s", "published.file=nothing.csv", cwd=tmp_path)
    assert (result.status, "published.file=nothing.csv" in result.err) == (2, True)
    result = run("report.py", f"study_dir={tmp_path}/s", f"published.file={path}", "published.format=xml", cwd=tmp_path)
    assert (result.status, "published.format=xml" in result.err) == (2, True)
    path.write_text(LINES[0] + "\ntheirs,step1,one,t,accuracy,0.3,0,1\n")
    result = run("report.py", f"study_dir={tmp_path}/s", f"published.file={path}", cwd=tmp_path)
    assert result.status == 1
    assert "line 2: field 'step' is 'one', not a whole number" in result.err
    assert "Traceback" not in result.text
