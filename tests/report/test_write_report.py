from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from pretune.errors import DataError, PretuneError
from pretune.report import write_report
from pretune.report.page import hash_source
from pretune.report.results import analyse
from pretune.results.schema import metrics_frame
from synthetic_tables import PRIMARY, measurement, realistic_study, tabulate

FEW = (0, 64, 1024)
NLI = {"pico/nli": ("accuracy", "sum")}


class _Page(HTMLParser):
    """Collects elements and attributes, and checks that elements nest."""

    VOID = frozenset({"meta", "input", "link", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _report(tmp_path, table, primary=PRIMARY, **options):
    files = write_report(table, tmp_path / "report", title=options.pop("title", "A study"), primary=primary, **options)
    return files, files.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return _report(tmp_path_factory.mktemp("whole"), realistic_study(), study={"command": "report.py"})


def test_page_tables_and_figures_are_there(whole):
    files, page = whole
    assert {"headline", "transfer", "formats", "forgetting", "missing_cells", "runs", "trends", "noise"} <= set(
        files.tables
    )
    assert {"overview", "task-pico-nli", "task-pico-choice", "other-domain-pico-nli-ood-pico-nli",
            "formats-pico-nli", "loss-pico-text"} <= set(files.figures)  # fmt: skip
    for name, path in files.figures.items():
        assert f'href="figures/{name}.svg"' in page
        assert path.read_text(encoding="utf-8").startswith('<?xml version="1.0"')
        assert f'href="figures/{name}.csv"' in page
        assert len(pd.read_csv(path.with_suffix(".csv")))
    for heading in (
        "training on one task do to the others",
        "prompt format",
        "forgotten of the pre-training text",
        "All numbers",
        "Methods and caveats",
    ):
        assert heading in page
    assert "report.py" in page
    assert len(page) < 5_000_000


def test_page_nests_and_ids_are_unique(whole):
    elements = _Page(whole[1]).elements
    ids = [attributes["id"] for _, attributes in elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)


def test_figures_are_well_formed_xml(whole):
    from xml.etree import ElementTree

    for path in whole[0].figures.values():
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_page_loads_nothing(whole):
    page = whole[1]
    for tag, attributes in _Page(page).elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name) or ""
            assert not re.match(r"(?i)\s*(https?:|//|data:|javascript:)", value)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "@import" not in page
    assert "url(" not in page


def test_policy_allows_this_style_and_script_alone(whole):
    page = whole[1]
    policy = next(a["content"] for t, a in _Page(page).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert hash_source(inline) in policy


def test_csv_files_equal_the_tables(whole):
    results = analyse(realistic_study(), PRIMARY)
    for name, path in whole[0].tables.items():
        frame = results.tables[name]
        read = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert list(read.columns) == list(frame.columns)
        assert len(read) == len(frame)
        for column in frame.columns:
            if pd.api.types.is_float_dtype(frame[column]):
                values = frame[column].astype(float).tolist()
                for written, value in zip(read[column], values, strict=True):
                    assert (written == "" and math.isnan(value)) or float(written) == value


def test_shown_numbers_are_those_of_the_tables(whole):
    files, page = whole
    classes = pd.read_csv(files.tables["dichotomy"])
    row = classes[classes["eval_task"] == "pico/nli"].iloc[0]
    assert f"pico/nli +{row['gain'] * 100:.1f}" in page
    overview = files.figures["overview"].read_text(encoding="utf-8")
    assert f"{row['base_end'] * 100:.1f} → {row['tuned_end'] * 100:.1f} (+{row['gain'] * 100:.1f} points)" in overview


def test_answer_is_five_sentences_that_say_what_was_planted(whole):
    answer = whole[1].split('id="answer"')[1].split("</dl>")[0]
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", answer, flags=re.DOTALL)
    assert len(found) == 5
    learnt, needs, when, costs, fragile = (re.sub(r"<[^>]+>", "", text) for _, text in found)
    assert "pico/choice 5" in learnt
    assert "pico/nli" not in learnt
    assert all(f"{task} +" in needs for task in ("pico/nli", "pico/paraphrase", "pico/question"))
    assert "differ from zero at 5 % after correction" in needs
    assert when.startswith("The tuned score levels off on pico/chat (between step")
    assert "Latent gain" in when
    assert "pico/nli" in when.split("Latent gain")[1]
    assert "loss on pre-training text by +0.47 nats per token" in costs
    assert "of 3 formats" in fragile
    assert "noise below" in fragile


def test_an_annealed_checkpoint_at_the_end_is_read_apart_but_not_kept_silent(tmp_path):
    rows = []
    for step in (16, 64, 256, 1024):
        annealed = step == 1024
        rows.append(measurement(step=step, annealed=annealed, value=0.33))
        rows.append(measurement(step=step, annealed=annealed, value=0.34, scorer="baseline"))
        rows.append(measurement(step=step, annealed=annealed, state="tuned", value=0.8 if annealed else 0.34))
    _, page = _report(tmp_path, tabulate(rows))
    answer = re.sub(r"<[^>]+>", "", page.split('id="answer"')[1].split("</dl>")[0])
    assert "None of the 1 task fine-tuned on clearly needs fine-tuning" in answer
    assert "on the annealed checkpoint, read apart, it adds pico/nli +47.0" in answer


def test_every_figure_of_scores_shows_the_noise_floor(whole):
    for name, path in whole[0].figures.items():
        if name in ("rates", "soundness"):  # no differences of scores
            continue
        text = path.read_text(encoding="utf-8")
        assert "noise" in text.split("</style>")[1], name


def test_same_table_gives_the_same_bytes_and_the_order_of_rows_is_nothing(tmp_path):
    table = realistic_study(steps=FEW)
    files, page = _report(tmp_path, table)
    assert _report(tmp_path / "same", table)[1] == page
    shuffled = table.sample(frac=1, random_state=1, ignore_index=True)
    again, _ = _report(tmp_path / "again", shuffled, study={"command": "report.py"})
    left, right = (pd.read_csv(f.tables["headline"]) for f in (files, again))
    keys = ["checkpoint", "train_task", "eval_task"]
    pd.testing.assert_frame_equal(*(f.sort_values(keys, ignore_index=True) for f in (left, right)))


HOSTILE = "<script>alert('x')</script>\"'&]]>{{ 7*7 }}"


def test_hostile_text_is_escaped_everywhere(tmp_path):
    from xml.etree import ElementTree

    table = realistic_study(steps=FEW)
    for column in ("eval_task", "train_task"):
        table[column] = table[column].replace("pico/nli", HOSTILE)
    table["family"] = HOSTILE + " family"
    table["checkpoint"] = table["checkpoint"] + HOSTILE
    table["run_id"] = table["run_id"] + HOSTILE
    table["eval_format"] = table["eval_format"].replace("io", HOSTILE)
    files, page = _report(tmp_path, table, {**PRIMARY, HOSTILE: ("accuracy", "sum")}, title=HOSTILE,
                          study={HOSTILE: HOSTILE})  # fmt: skip
    assert page.count("<script") == 2
    assert "alert('x')" not in page.split('<script type="application/json"')[0]
    assert "<script>alert" not in page
    assert "49" not in re.findall(r"<title>(.*?)</title>", page)[0]
    _Page(page)
    for path in files.figures.values():
        assert path.parent == files.page.parent / "figures"
        assert re.fullmatch(r"[A-Za-z0-9.-]+", path.name)
        ElementTree.parse(path)


def test_names_that_collide_as_file_names_keep_both_figures(tmp_path):
    rows = [measurement(eval_task=task, value=0.4, step=s) for task in ("a/b", "a-b", "A b") for s in (1, 2)]
    files, _ = _report(tmp_path, tabulate(rows), {})
    assert sorted(name for name in files.figures if "task" in name) == ["task-A-b", "task-a-b-2", "task-a-b-3"]


class TestRobustness:
    def test_empty_table(self, tmp_path):
        with pytest.raises(DataError, match="no cell has finished yet"):
            _report(tmp_path, metrics_frame([]))
        with pytest.raises(PretuneError, match="no cell has finished"):
            _report(tmp_path, pd.DataFrame())
        assert not (tmp_path / "report").exists()

    def test_only_training_rows(self, tmp_path):
        row = measurement(state="tuned", kind="train", metric="train_loss", value=1.0)
        with pytest.raises(DataError, match="no evaluation"):
            _report(tmp_path, tabulate([row]))

    def test_nothing_but_nan(self, tmp_path):
        with pytest.raises(DataError, match="no evaluation and no probe with a finite value"):
            _report(tmp_path, tabulate([measurement(value=math.nan)]))

    @pytest.mark.parametrize(
        "rows",
        [
            pytest.param([measurement(value=0.4)], id="one base row"),
            pytest.param([measurement(state="tuned", value=0.4)], id="one tuned row"),
            pytest.param([measurement(value=0.4), measurement(state="tuned", value=0.7)], id="one checkpoint"),
            pytest.param([measurement(step=0, value=0.4)], id="step 0 alone"),
            pytest.param([measurement(step=s, value=0.4) for s in (0, 64)], id="step 0 and another"),
            pytest.param([measurement(step=None, checkpoint=c, value=0.4) for c in ("a", "b")], id="no steps"),
            pytest.param([measurement(step=None, checkpoint=None, value=0.4)], id="no name either"),
            pytest.param([measurement(step=s, tokens=None, value=0.4) for s in (8, 64)], id="no tokens"),
            pytest.param([measurement(value=0.4, ci_low=None, ci_high=None)], id="no intervals"),
            pytest.param([measurement(value=0.4), measurement(step=128, value=math.nan)], id="NaN among values"),
            pytest.param([measurement(metric="f1", scorer=None, value=v, step=s) for s, v in ((1, 3.0), (2, 3.0))],
                         id="unknown metric, no scorer"),
            pytest.param([measurement(eval_task="t", metric="loss", scorer="likelihood", value=3.0)], id="text alone"),
            pytest.param([measurement(metric="accuracy", scorer="baseline", value=0.3), measurement(value=0.4)],
                         id="baseline"),
            pytest.param([measurement(family=f, value=0.4, step=s) for f in ("x", "y") for s in (1, 2)],
                         id="two families"),
            pytest.param([measurement(phase=p, value=0.4, step=s) for p in ("one", "two") for s in (1, 2)],
                         id="two phases"),
            pytest.param([measurement(value=0.4, step=738020, checkpoint=c) for c in ("step738k", "main")],
                         id="two names of one step"),
            pytest.param([measurement(value=0.4)] + [measurement(state="tuned", lr=lr, value=0.6, train_rows=n)
                                                     for lr in (1e-4, 1e-3) for n in (10, 20)],
                         id="rates not chosen, two settings"),
            pytest.param([measurement(value=0.4), measurement(value=0.2)], id="conflict"),
            pytest.param([measurement(eval_format=None, shots=None, n=None, value=0.4)], id="null format and shots"),
            pytest.param([measurement(value=0.4, checkpoint=f"s{s}", step=s, annealed=s == 9) for s in range(1, 60)],
                         id="many checkpoints"),
        ],
    )  # fmt: skip
    def test_odd_tables_give_a_page(self, tmp_path, rows):
        _, page = _report(tmp_path, tabulate(rows), {})
        _Page(page)
        assert "nan" not in re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL).lower()
        assert "&lt;NA&gt;" not in page

    def test_many_trainings_on_one_text(self, tmp_path):
        files, page = _report(tmp_path, realistic_study(seeds=2, steps=FEW))
        assert "Student" in page
        assert "single seed" not in page

    def test_fallback_of_a_primary_is_noted(self, tmp_path):
        _, page = _report(tmp_path, tabulate([measurement(value=0.4)]), {"pico/nli": ("rouge_l", "generate")})
        assert "the table has no rouge_l by generate; accuracy by sum is shown instead" in page

    def test_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "report").write_text("")
        with pytest.raises(PretuneError, match="cannot be written"):
            _report(tmp_path, tabulate([measurement(value=0.4)]))


def test_second_report_replaces_the_first_and_leaves_no_parts(tmp_path):
    _report(tmp_path, realistic_study(steps=FEW))
    (tmp_path / "report" / "notes.txt").write_text("mine")
    files, _ = _report(tmp_path, tabulate([measurement(value=0.4)]), NLI)
    found = {str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*") if path.is_file()}
    data = [path.with_suffix(".csv") for path in files.figures.values()]
    written = [files.page, *files.tables.values(), *files.figures.values(), *data]
    assert found == {"notes.txt", *(str(path.relative_to(tmp_path / "report")) for path in written)}


def test_old_page_survives_a_failure(tmp_path, monkeypatch):
    _, page = _report(tmp_path, tabulate([measurement(value=0.4)]), NLI)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(PretuneError, match="No space left"):
        _report(tmp_path, tabulate([measurement(value=0.5)]), NLI)
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8") == page
    assert not list((tmp_path / "report").rglob("*.part"))


def test_large_table_is_cut_on_the_page_but_not_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("pretune.report.views.MOST_ROWS", 20)
    rows = [measurement(eval_task=f"task{t}", step=s, value=0.4) for t in range(3) for s in range(1, 11)]
    files, page = _report(tmp_path, tabulate(rows), {})
    assert len(pd.read_csv(files.tables["headline"])) == 30
    assert "The first 20 of 30 rows" in page
