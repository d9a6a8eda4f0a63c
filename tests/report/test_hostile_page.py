"""Hostile texts in every column of a table: in a real browser they stay text, and no script but the page's runs."""

from __future__ import annotations

import pytest

from pretune.report import write_report
from support.browser import open_browser
from synthetic_tables import realistic_study

OWN = "document.documentElement.dataset.owned=1"
HOSTILE = {
    "script": f"</script><script>{OWN}</script>",
    "comment": f"<!--<script>{OWN}//--></title></style></svg><script>{OWN}</script>",
    "handler": f"\"' autofocus onfocus={OWN} onmouseover={OWN} x=",
    "frame": f"<iframe srcdoc='<script>parent.{OWN}</script>'></iframe><svg onload={OWN}>",
    "link": f"javascript:{OWN}",
    "template": "{{ cycler.__init__.__globals__ }}{% raw %}<!-- data -->",
    "controls": "\u202e\u2028\x01<b>x",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_stay_texts(browser, tmp_path, text):
    table = realistic_study(steps=(0, 64, 1024))
    for column in ("eval_task", "train_task", "checkpoint", "family", "run_id", "eval_format", "scorer"):
        table[column] = table[column].str.replace("pico", text, regex=False).str.replace("default", text, regex=False)
    facts = {"note": text, "failed": [text] * 3}
    files = write_report(table, tmp_path / "report", title=text, primary={}, study=facts)
    browser.problems.clear()
    browser.open(files.page)
    for dispatched in ("mouseover", "focus", "click"):
        browser.run(
            "[...document.querySelectorAll('main *')].slice(0, 3000).forEach(e => "
            f"e.tagName !== 'A' && e.dispatchEvent(new Event('{dispatched}')))"
        )
    assert browser.run("document.documentElement.dataset.owned === undefined")
    assert browser.run("document.querySelectorAll('script:not([type])').length") == 1
    assert browser.run("document.querySelectorAll('iframe, img, object, embed, base').length") == 0
    assert browser.run("[...document.links].filter(a => !/^(file|https?):/.test(a.protocol)).length") == 0
    assert browser.problems == []
    for path in (*files.tables.values(), *files.figures.values()):
        assert path.resolve().is_relative_to(tmp_path / "report")


def test_the_policy_stops_a_script_that_got_in(browser, tmp_path):
    """Were something not escaped, the browser would still refuse it."""
    files = write_report(realistic_study(steps=(0, 64)), tmp_path, title="x", primary={})
    page = files.page.read_text()
    assert "Content-Security-Policy" in page
    files.page.write_text(page.replace("<main>", f"<main><script>{OWN}</script><p onclick='{OWN}' id='trap'>x</p>", 1))
    browser.problems.clear()
    browser.open(files.page)
    browser.run("document.getElementById('trap').click()")
    assert browser.run("document.documentElement.dataset.owned === undefined")
    assert any("Content Security Policy" in problem for problem in browser.problems)
