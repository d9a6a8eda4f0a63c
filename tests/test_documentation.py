"""What README and docs tell people to type: every command composes, every file named exists.

The README's first command is run as a whole by ``tests/scripts/test_miniature.py``; its second is what runs this.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCRIPTS = ("train.py", "evaluate.py", "probe.py", "report.py")
PLACES = ("study_dir", "checkpoint.path", "checkpoint.recipe.corpus.path", "task.path")
"""Keys whose values on a page are places on the reader's machine."""
STAND_INS = {"RUN_ID": "train-x", "DIR": "/", "OWNER/NAME": "owner/name"}


def commands() -> list[tuple[str, str]]:
    """(page, command) for every script call in a fenced block; lines that end in a backslash are joined."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|sh|shell|console)?\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ")
                if re.match(r"python (train|evaluate|probe|report)\.py\b", text):
                    found.append((page.name, text))
    return found


def test_there_are_commands_to_check():
    assert len(commands()) >= 4


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: value[:60])
def test_command_composes_and_is_valid(page, command):
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from pretune.config.axes import quote_axes
    from pretune.config.diagnosis import compose, single_values
    from pretune.config.schema import SCRIPTS as CLASSES
    from pretune.config.schema import freeze, register
    from pretune.config.validation import find_problems

    words = shlex.split(command, comments=True)
    script, overrides = Path(words[1]).stem, [word for word in words[2:] if not word.startswith("-")]
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
            assert not problems, f"{page}: {command}: {problems}"


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
