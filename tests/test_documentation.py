"""What README and docs say: every command composes with all its values, every file named exists.

They are run by ``tests/test_documented_commands.py``. The README's first command is run as a whole by
``tests/scripts/test_miniature.py``; its second is what runs this.
"""

from __future__ import annotations

import re

import pytest

from support.pages import PAGES, ROOT, Command, read_commands

PLACES = ("study_dir", "checkpoint.path", "checkpoint.recipe.corpus.path", "task.path")
"""Keys whose values on a page are places on the reader's machine."""


def commands() -> list[tuple[str, Command]]:
    """(page, command) for every call of a script."""
    return [(command.page, command) for command in read_commands() if command.script is not None]


def test_there_are_commands_to_check():
    assert len(commands()) >= 4


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: str(getattr(value, "text", value))[:60])
def test_command_composes_and_is_valid(page, command):
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from pretune.config.axes import quote_axes
    from pretune.config.diagnosis import compose, single_values
    from pretune.config.schema import SCRIPTS as CLASSES
    from pretune.config.schema import freeze, register
    from pretune.config.validation import find_problems

    script, overrides = command.script, command.overrides
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create(config_loader=loader)
        axes = [single_values(override) for override in parser.parse_overrides(quote_axes(overrides))]
        for index in range(max(map(len, axes), default=1)):
            point = [values[index % len(values)] for values in axes]
            config = freeze(CLASSES[script], compose(script, loader, point))
            problems = [p for p in find_problems(config) if p.key not in PLACES]
            assert not problems, f"{page}: {command.text}: {problems}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page):
    assert "@@" not in page.read_text()


def test_the_readme_names_both_commands():
    text = (ROOT / "README.md").read_text()
    assert "./run miniature" in text
    assert "./run tests" in text
    assert "./run tests" in (ROOT / ".ci" / "run").read_text()


def test_the_reference_page_is_what_the_schema_says():
    from pretune.reference import render_reference

    written = (ROOT / "docs" / "reference.md").read_text()
    assert written == render_reference(ROOT / "conf"), "run: python -m pretune.reference > docs/reference.md"
