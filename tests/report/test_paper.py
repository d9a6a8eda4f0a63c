"""Figures for a paper: their size, their fonts, the same bytes twice, and what is missing without matplotlib."""

from __future__ import annotations

import re
import sys

import pytest

from pretune.errors import UsageError
from pretune.report import write_report
from pretune.report.palette import INK
from pretune.report.paper import write_paper
from pretune.report.svg import load_text
from synthetic_tables import PRIMARY, realistic_study

pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install 'pretune[paper]')")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    study = realistic_study(steps=(0, 16, 64, 1024))
    files = write_report(study, out, title="A study", primary=PRIMARY, paper_width=5.5)
    assert files.paper == out / "paper"
    return files.paper


def test_there_is_one_figure_for_each_question_as_pdf_and_svg(folder):
    names = {path.stem for path in folder.iterdir()}
    assert {"overview", "tasks", "gain", "transfer", "formats", "text"} <= names
    assert {path.name for path in folder.iterdir()} == {f"{name}.{end}" for name in names for end in ("pdf", "svg")}


def test_figures_have_the_width_asked_for_and_embed_their_fonts(folder):
    for path in folder.glob("*.pdf"):
        data = path.read_bytes()
        (width,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) [0-9.]+ \]", data)
        assert float(width) == pytest.approx(5.5 * 72, abs=0.5), path.name
        assert b"/FontFile2" in data or b"/Type0" in data
        assert b"/Subtype /Type3" not in data
        assert b"CreationDate" not in data


def test_text_of_the_svg_stays_text(folder):
    text = (folder / "tasks.svg").read_text(encoding="utf-8")
    assert "pico/nli" in text
    assert "noise floor" in text
    assert "before fine-tuning" in text or "base model" in text


def test_many_panels_are_several_figures_and_a_page_without_matplotlib_says_what_to_install(
    folder, tmp_path, monkeypatch
):
    from pretune.report.results import analyse
    from pretune.report.writing import draw_report

    overview, sections = draw_report(analyse(realistic_study(steps=(0, 64)), PRIMARY))
    monkeypatch.setattr("pretune.report.paper.MOST_PANELS", 4)
    written = write_paper(overview, sections, tmp_path / "a", width=3.25)
    assert {"tasks-1", "tasks-2", "tasks-3"} <= set(written)
    again = write_paper(overview, sections, tmp_path / "b", width=3.25)
    for name, paths in written.items():
        for left, right in zip(paths, again[name], strict=True):
            assert left.read_bytes() == right.read_bytes()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'pretune\[paper\]'"):
        write_paper(overview, sections, tmp_path / "c", width=3.25)


def test_paper_and_page_have_the_same_colours():
    style = load_text("figure.css")
    for number, colour in enumerate(INK):
        assert f"--c{number}: {colour}" in style
