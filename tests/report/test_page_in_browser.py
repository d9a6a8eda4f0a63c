"""The page as a reader sees it: opened in a real browser, hovered, clicked, filtered, printed."""

from __future__ import annotations

import json
import re

import pytest

from pretune.report import write_report
from support.browser import open_browser
from synthetic_tables import PRIMARY, realistic_study, tabulate

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "runs").mkdir()
    return write_report(realistic_study(), folder / "report", title="A study", primary=PRIMARY)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, study):
    browser.problems.clear()
    browser.open(study.page)
    yield browser
    assert browser.problems == []


def _text(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)}).innerText")


def _count(page, expression):
    return page.run(
        f"[...document.querySelectorAll({json.dumps(expression)})].filter(e => e.getClientRects().length).length"
    )


def test_figures_are_drawn_and_nothing_is_wider_than_the_window(page, study):
    assert page.run("document.documentElement.className") == "js"
    assert _count(page, "figure.chart svg.panel") == len(study.figures)
    assert page.run(
        "[...document.querySelectorAll('figure svg.panel')].every(s => s.getBoundingClientRect().height > 80)"
    )
    assert page.run("document.documentElement.scrollWidth") == 1440
    page.open(study.page, width=390, height=844)
    assert page.run("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_screenshots_have_the_ground_of_their_theme(page, study, tmp_path, width, dark):
    page.open(study.page, width=width, height=900, dark=dark)
    assert page.screenshot(tmp_path / "page.png").startswith(b"\x89PNG")
    ground = page.run("getComputedStyle(document.documentElement).backgroundColor")
    ink = page.run("getComputedStyle(document.querySelector('svg text')).fill")
    assert (ground == "rgb(255, 255, 255)") is not dark
    assert ground != ink


def test_no_labels_of_a_figure_overlap(page):
    overlaps = page.run("""[...document.querySelectorAll('figure.chart svg.panel')].flatMap(svg => {
        const boxes = [...svg.querySelectorAll('text')].filter(t => t.textContent && !t.closest('[transform]') &&
            !t.getAttribute('transform')).map(t => [t.textContent, t.getBBox()]);
        return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) =>
            Math.min(p.x + p.width, q.x + q.width) - Math.max(p.x, q.x) > 1.5 &&
            Math.min(p.y + p.height, q.y + q.height) - Math.max(p.y, q.y) > 4.5
        ).map(([b]) => svg.getAttribute('aria-label') + ': ' + a + ' / ' + b)); })""")
    assert overlaps == []


def test_hovering_a_mark_shows_its_value_and_a_click_its_cells(page):
    mark = 'figure[data-name="task-pico-nli"] .series[data-series="1"] .point[data-point="7"] .mark'
    assert page.run("document.getElementById('tip').hidden")
    page.move(mark)
    told = _text(page, "#tip")
    assert "after fine-tuning" in told
    assert "step1024" in told
    assert "95 %" in told
    page.click(mark)
    assert page.run("document.getElementById('cells').open")
    link = page.run("document.querySelector('#cells a').getAttribute('href')")
    assert link.startswith("../runs/evaluate-pico-step1024")
    assert link.endswith("/config.yaml")
    shown = _text(page, "#cells table")
    assert "0.001" in shown or "1e-3" in shown
    page.press("Escape")


def test_the_keyboard_walks_over_the_marks(page):
    page.run("document.querySelector('figure[data-name=\"task-pico-nli\"] svg').focus()")
    page.press("ArrowRight")
    first = _text(page, "#tip")
    page.press("ArrowRight")
    second = _text(page, "#tip")
    page.press("ArrowDown")
    other = _text(page, "#tip")
    assert len({first, second, other}) == 3
    assert second.split("\n")[1] == other.split("\n")[1]  # the same checkpoint of the other curve
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden")


def test_series_are_switched_off_one_by_one_and_by_kind(page):
    drawn = _count(page, 'figure[data-name="gain"] .series')
    page.click('figure[data-name="gain"] button[data-series="0"]')
    assert _count(page, 'figure[data-name="gain"] .series') == drawn - 1
    page.click('figure[data-name="gain"] button[data-series="0"]')
    assert _count(page, 'figure[data-name="gain"] .series') == drawn
    assert _count(page, ".series.base") > 0
    page.click('button[data-kind="base"]')
    assert _count(page, ".series.base") == 0


def test_tables_filter_by_words_and_numbers_and_sort(page):
    def look(text):
        page.run(
            f"(() => {{ const i = document.querySelector('#numbers-1 input'); i.value = {json.dumps(text)}; "
            "i.dispatchEvent(new Event('input')); })()"
        )
        return _text(page, "#numbers-1 .tools [role=status]")

    assert look("") == "456 of 456 rows"
    few = look("pico/nli step64")
    assert 0 < int(few.split()[0]) < 60
    clear = int(look("gain>40").split()[0])
    assert 0 < clear < int(look("gain>30").split()[0])
    assert look("no-such-word") == "0 of 456 rows"
    look("gain>40")
    column = page.run("[...document.querySelectorAll('#numbers-1 thead th')].findIndex(h => h.textContent === 'gain')")
    for order in ("ascending", "descending"):
        page.click(f"#numbers-1 thead th:nth-child({column + 1}) button")
        shown = page.run(
            "[...document.querySelectorAll('#numbers-1 tbody tr')].filter(r => !r.hidden)"
            f".map(r => Number(r.cells[{column}].textContent))"
        )
        assert len(shown) == clear
        assert shown == sorted(shown, reverse=order == "descending")


def test_long_tables_are_shown_in_part_until_asked(page):
    before = _count(page, "#numbers-1 tbody tr")
    page.click("#numbers-1 .more")
    assert _count(page, "#numbers-1 tbody tr") == 456 > before


def test_a_row_leads_to_its_cells(page):
    page.click("#numbers-1 tbody tr:nth-child(1) button.cells")
    assert page.run("document.querySelectorAll('#cells tbody tr').length") >= 1
    assert "evaluate-" in _text(page, "#cells")


def test_the_checkpoint_of_a_table_is_chosen(page):
    page.run("document.querySelector('#transfer details').open = true")
    select = "document.querySelector('#transfer select')"
    assert _count(page, "#transfer details .choice") == 1
    before = _text(page, "#transfer details .choice.chosen table")
    page.run(f"{select}.value = '0'; {select}.dispatchEvent(new Event('change'))")
    assert _text(page, "#transfer details .choice.chosen table") != before


def test_a_figure_is_saved_as_png_by_the_page_itself(page):
    saved = page.run("""new Promise(done => {
        HTMLAnchorElement.prototype.click = function () { fetch; done([this.download, this.href]); };
        document.querySelector('figure[data-name="overview"] [data-png]').click(); })""")
    assert saved[0] == "overview.png"
    assert saved[1].startswith("blob:")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_narrow_screen_hovering_shows_a_readable_box_inside_the_window(page, study, dark):
    page.open(study.page, width=390, height=844, dark=dark)
    for mark in ('figure[data-name="inflection-pico-nli-accuracy"] .series.tuned .point[data-point="7"] .mark',
                 'figure[data-name="prediction-regret-earlier"] .series[data-series="0"] .point .mark'):  # fmt: skip
        page.move(mark)
        box = page.run("(() => { const b = document.getElementById('tip').getBoundingClientRect(); "
                       "return [b.left, b.right, b.top, b.bottom, b.height]; })()")  # fmt: skip
        assert box[0] >= 0
        assert box[1] <= 390
        assert box[2] >= 0
        assert box[3] <= 844
        assert box[4] > 20
        colours = page.run("(() => { const s = getComputedStyle(document.getElementById('tip')); "
                           "return [s.color, s.backgroundColor]; })()")  # fmt: skip
        assert _contrast(*colours) > 7


def _contrast(first, second):
    """Contrast ratio of two CSS colours (WCAG 2)."""

    def light(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_lines_of_every_colour_stand_out_from_the_ground(page, study, dark):
    page.open(study.page, dark=dark)
    ground, *colours = page.run("""['--ground', ...[...Array(13).keys()].map(n => '--c' + n)].map(name => {
        const e = document.body.appendChild(document.createElement('i'));
        e.style.color = getComputedStyle(document.documentElement).getPropertyValue(name);
        return getComputedStyle(e).color; })""")
    assert len(set(colours)) == 13
    assert min(_contrast(colour, ground) for colour in colours) > 3


def test_it_prints_on_paper_with_the_methods_open(page, tmp_path):
    pdf = page.print(tmp_path / "page.pdf")
    assert pdf.startswith(b"%PDF")
    assert re.search(rb"/MediaBox \[0 0 84[12]\S* 59[456]", pdf)  # A4, landscape: wide tables
    assert not page.run("[...document.querySelectorAll('details.how')].some(d => d.open)")


def test_on_paper_tables_are_as_wide_as_the_sheet_and_large_enough_to_read(page, study):
    sheet = 1032  # CSS pixels of an A4 sheet on its side, without margins
    page.open(study.page, width=sheet, height=700)
    page.call("Emulation.setEmulatedMedia", media="print")
    widest = page.run("Math.max(...[...document.querySelectorAll('table')].filter(t => t.getClientRects().length)"
                      ".map(t => t.getBoundingClientRect().right))")  # fmt: skip
    smallest = page.run("Math.min(...[...document.querySelectorAll('td')].filter(t => t.getClientRects().length)"
                        ".map(t => parseFloat(getComputedStyle(t).fontSize)))")  # fmt: skip
    page.call("Emulation.setEmulatedMedia", media="")
    assert widest <= sheet + 1
    assert smallest >= 8 * 96 / 72 - 0.01


def test_names_that_are_markup_stay_text(browser, tmp_path):
    table = realistic_study(steps=(0, 64, 1024))
    for column in ("eval_task", "train_task", "checkpoint", "family", "run_id"):
        table[column] = table[column].str.replace("pico", HOSTILE, regex=False)
    browser.problems.clear()
    browser.open(write_report(table, tmp_path, title=HOSTILE, primary={}).page)
    assert browser.run("document.querySelectorAll('img').length") == 0
    browser.move(".point .mark")
    browser.click("#numbers-1 tbody button.cells")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert HOSTILE in _text(browser, "#cells")
    assert browser.problems == []


def test_the_smallest_page_works(browser, tmp_path):
    from synthetic_tables import measurement

    browser.problems.clear()
    browser.open(write_report(tabulate([measurement(value=0.4)]), tmp_path, title="One number", primary={}).page)
    assert "pico/nli" in _text(browser, "#answer")
    assert browser.problems == []
