"""A page about probes alone, and tables that lack what a page is usually made of: a page or a clear message."""

from __future__ import annotations

import contextlib
import html
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.errors import DataError
from pretune.published import read_published
from pretune.report import write_report
from pretune.results.schema import METRIC_COLUMNS
from synthetic_tables import measurement, realistic_study, tabulate

OWN_RUN = Path(__file__).parents[2] / "docs" / "results" / "overtraining" / "results.csv"


def _sentences(page: Path) -> dict[str, str]:
    answer = page.read_text(encoding="utf-8").split('id="answer"')[1].split("</dl>")[0]
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", answer, flags=re.DOTALL)
    return {heading: html.unescape(re.sub("<[^>]+>", "", text)) for heading, text in found}


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probes")
    table = pd.read_csv(OWN_RUN)
    table[table["kind"] == "probe"].to_csv(folder / "probes.csv", index=False)
    published = read_published(folder / "probes.csv", "tidy")
    return write_report(published.table, folder / "report", title="Probes", primary=published.primary)


def test_the_first_screen_speaks_of_the_damage_and_not_of_missing_tasks(probes):
    told = _sentences(probes.page)
    assert list(told) == ["What was disturbed", "How much damage", "Whether it grows", "Where it turns", "How sure"]
    assert "7 checkpoints from 213k to 43M tokens" in told["What was disturbed"]
    assert "γ 0.1, γ 0.2 and γ 0.4" in told["What was disturbed"]
    assert "+0.650 under gaussian init γ 0.4" in told["How much damage"]
    assert "grows with pre-training at all 3 sizes" in told["Whether it grows"]
    assert "turns between step656 and step2625" in told["Where it turns"]
    assert "5 seeds" in told["How sure"]


def test_the_page_has_no_empty_sections_about_tasks(probes):
    page = probes.page.read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert sections == ["answer", "inflections", "sensitivity", "methods"]
    for words in ("Tasks trained on", "Learning rate.", "Primary metric", "every training and evaluation"):
        assert words not in page
    assert {"sensitivity-gaussian-init-heldout-loss-increase", "inflection-heldout-loss-gaussian-init"} <= set(
        probes.figures
    )


def test_beside_evaluations_the_damage_joins_the_sentence_on_fragility(tmp_path):
    told = _sentences(write_report(pd.read_csv(OWN_RUN), tmp_path, title="Both", primary={}).page)
    assert list(told)[-1] == "How fragile, how sure"
    assert "+0.069 at first and +0.650 at the end (nats per token), more with pre-training" in told[list(told)[-1]]


def _probe(**changes):
    return measurement(**({"kind": "probe", "probe": "gaussian", "probe_variant": "init", "magnitude": 0.1,
                           "probe_seed": 0, "eval_task": "pico/text", "metric": "loss_increase", "eval_format": None,
                           "shots": None, "scorer": "likelihood"} | changes))  # fmt: skip


ODD = {
    "one number": [_probe(value=0.1)],
    "no size, no variant": [_probe(value=float(s), step=s, magnitude=None, probe_variant=None) for s in (1, 2)],
    "no task": [_probe(value=1.0 + s, step=s, probe="sharpness", metric="top_eigenvalue", eval_task=None,
                       magnitude=None, probe_variant=None, ci_low=None, ci_high=None) for s in (1, 2, 3)],
    "tuned weights": [_probe(value=0.1, step=s, state="tuned", train_task="pico/nli") for s in (1, 2)],
    "nothing but zero": [_probe(value=0.0, step=s, ci_low=0.0, ci_high=0.0) for s in range(1, 9)],
    "falling damage": [_probe(value=1 - 0.1 * s, step=2**s) for s in range(8)],
    "no tokens, no steps": [_probe(value=0.1, step=None, checkpoint=c) for c in "abc"],
    "NaN among them": [_probe(value=0.1), _probe(value=float("nan"), step=128)],
    "twice the same": [_probe(value=0.1), _probe(value=0.1), _probe(value=0.2)],
    "two models": [_probe(value=0.1 * s, step=s, family=f) for f in ("x", "y") for s in range(1, 6)],
    "a drop of a score": [_probe(value=0.05 * s, step=2**s, metric="accuracy_drop", magnitude=g, eval_task="pico/nli")
                          for s in range(6) for g in (0.1, 0.2)],
    "annealed and not": [_probe(value=0.1 * s, step=2**s, annealed=s == 5, checkpoint=f"s{s}") for s in range(6)],
    "infinite": [_probe(value=float("inf")), _probe(value=0.1, step=1)],
}  # fmt: skip


@pytest.mark.parametrize("rows", [pytest.param(rows, id=name) for name, rows in ODD.items()])
def test_odd_probes_give_a_page(tmp_path, rows):
    page = write_report(tabulate(rows), tmp_path, title="Odd", primary={}).page
    assert len(_sentences(page)) == 5
    text = re.sub(r"<(style|script).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"\bnan\b|&lt;NA&gt;|\binf\b|>None<", text)


POOL = pd.concat([
    pd.read_csv(OWN_RUN), realistic_study(steps=(0, 64, 1024)), tabulate(row for rows in ODD.values() for row in rows),
], ignore_index=True)  # fmt: skip
OPTIONAL = [
    name
    for name in METRIC_COLUMNS
    if name not in ("kind", "family", "checkpoint", "state", "eval_task", "metric", "value")
]


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1), number=st.integers(1, 60), empty=st.lists(st.sampled_from(OPTIONAL), max_size=4),
    gaps=st.booleans(),
)  # fmt: skip
def test_any_rows_give_a_page_or_a_clear_message(tmp_path, seed, number, empty, gaps):
    table = POOL.sample(number, random_state=seed, replace=True, ignore_index=True)
    table[empty] = None
    if gaps:
        for name in ("step", "tokens", "lr", "ci_low", "magnitude", "eval_format"):
            table[name] = table[name].where(table.index % 3 != 0)
    with contextlib.suppress(DataError):  # nothing to report; anything else that is raised is a defect
        assert len(_sentences(write_report(table, tmp_path, title="Rows", primary={}).page)) >= 5
