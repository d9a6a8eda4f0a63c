"""The shape of the package: imports point downwards, light modules stay light, modules and tracked files small."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pretune"

LAYERS = (
    ("errors", "terminal"),
    ("config",),
    ("results", "planning"),
    ("checkpoints",),
    ("pico", "modeling"),
    ("data",),
    ("training",),
    ("evaluation",),
    ("probes",),
    ("tracking",),
    ("published",),
    ("analysis",),
    ("report",),
    ("execution",),
    ("app", "study", "theory", "reference"),
)
"""From the bottom up: a module imports from its own layer and from those above it in this list only."""

HEAVY = {"torch", "lightning", "transformers", "datasets", "pandas", "pyarrow", "matplotlib", "wandb", "scipy"}
LIGHT_PACKAGES = ("config", "results", "planning", "checkpoints", "pico", "execution")
"""Packages that planning, ``--help`` and the check for finished cells go through."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(name: str) -> int:
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(f"'{name}' is in no layer: add it to LAYERS")


def imported_names(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def top_level_imports(tree: ast.Module) -> list[str]:
    return [
        name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported_names(ast.Module(body=[node], type_ignores=[]))
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts == ("__init__",):
        return
    own = layer_of(parts[0])
    for name in imported_names(ast.parse(path.read_text())):
        if name.startswith("pretune."):
            assert layer_of(name.split(".")[1]) <= own, f"{path.name} imports upwards: {name}"


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_light_packages_import_nothing_heavy_at_module_level(package):
    for path in (PACKAGE / package).rglob("*.py"):
        heavy = {name.split(".")[0] for name in top_level_imports(ast.parse(path.read_text()))} & HEAVY
        assert not heavy, f"{path.relative_to(PACKAGE)} imports {heavy} at module level"


def test_modules_hold_one_idea_each():
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"modules over 400 lines: {long}"


def test_every_module_and_public_definition_has_a_docstring():
    missing = []
    for path in modules():
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None and path.stat().st_size:
            missing.append(str(path.relative_to(PACKAGE)))
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and ast.get_docstring(node) is None:
                missing.append(f"{path.relative_to(PACKAGE)}::{node.name}")
    assert not missing


def test_no_data_weights_or_archives_are_tracked() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a clone, or no git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip(f"git lists nothing here: {listed.stderr.strip()}")
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [path.name for path in tracked if path.is_file() and path.stat().st_size > 900_000]
    assert tracked
    assert large == []
