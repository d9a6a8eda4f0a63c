"""Run a whole study: an ordered list of script calls, each of which skips what is finished.

python -m pretune.study miniature
python -m pretune.study miniature study_dir=studies/second seed=1

Further ``key=value`` arguments are given to every step that has the key. Without a name the studies are listed.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pretune.config.schema import SCRIPTS
from pretune.config.validation import WITHOUT_EFFECT
from pretune.errors import PretuneError, UsageError, suggest


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of a script. ``multirun`` sweeps over comma-separated values."""

    script: str
    overrides: tuple[str, ...]
    multirun: bool

    def arguments(self, study_dir: str, extra: Sequence[str]) -> list[str]:
        """Arguments of the call; ``extra`` come last and therefore win."""
        kept = [text for text in extra if _has_key(self.script, text) and not self._ignores(text)]
        return [*(["-m"] if self.multirun else []), *self.overrides, f"study_dir={study_dir}", *kept]

    def _ignores(self, override: str) -> bool:
        """Whether the step is a pre-training, which refuses keys that it does not look at."""
        return "stage=pretrain" in self.overrides and override.startswith(WITHOUT_EFFECT)


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study as written in ``conf/study/<name>.yaml``."""

    name: str
    description: str
    study_dir: str
    steps: tuple[Step, ...]


def find_root() -> Path:
    """Folder with the scripts and ``conf``: the working folder, or the checkout this package runs from."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "train.py").is_file() and (folder / "conf" / "study").is_dir():
            return folder
    raise UsageError(f"{Path.cwd()} holds no train.py and conf/study: run this in a checkout of pretune")


def list_studies(root: Path) -> list[str]:
    """Names of the studies that are there."""
    return sorted(path.stem for path in (root / "conf" / "study").glob("*.yaml"))


def read_study(root: Path, name: str) -> StudyPlan:
    """Read a study; every problem names the file and the entry."""
    path = root / "conf" / "study" / f"{name}.yaml"
    if name not in list_studies(root):
        raise UsageError(f"study '{name}' is not known; {suggest(name, list_studies(root))}")
    data: Mapping[str, Any] = yaml.safe_load(path.read_text())
    steps = []
    for number, entry in enumerate(data.get("steps", ()), start=1):
        if entry.get("script") not in SCRIPTS:
            raise UsageError(
                f"{path} step {number}: script {entry.get('script')!r}; {suggest(str(entry.get('script')), SCRIPTS)}"
            )
        steps.append(
            Step(
                script=entry["script"],
                overrides=tuple(str(text) for text in entry.get("overrides", ())),
                multirun=bool(entry.get("multirun", False)),
            )
        )
    if not steps:
        raise UsageError(f"{path}: the study has no steps")
    return StudyPlan(
        name=name,
        description=str(data.get("description", "")),
        study_dir=str(data.get("study_dir", f"studies/{name}")),
        steps=tuple(steps),
    )


def _has_key(script: str, override: str) -> bool:
    """Whether the script's configuration has the first part of the override's key."""
    fields: Mapping[str, Any] = SCRIPTS[script].__dataclass_fields__  # type: ignore[attr-defined]
    return override.partition("=")[0].split(".")[0] in (*fields, "experiment", "hydra")


def check_keys(plan: StudyPlan, extra: Sequence[str]) -> None:
    """Refuse an argument whose key no step has: it would be left out of every call without a word."""
    scripts = {step.script for step in plan.steps}
    for text in extra:
        if not any(_has_key(script, text) for script in scripts):
            keys = {field.name for script in scripts for field in dataclasses.fields(SCRIPTS[script])}
            hint = suggest(text.split("=")[0], keys)
            raise UsageError(f"{text}: no step of study '{plan.name}' has this key; {hint}")


def run_study(plan: StudyPlan, root: Path, extra: Sequence[str]) -> int:
    """Run the steps one after another; stop at the first that fails. Return the exit status."""
    chosen = [text.partition("=")[2] for text in extra if text.startswith("study_dir=")]
    study_dir = chosen[-1] if chosen else plan.study_dir
    started = time.perf_counter()
    for number, step in enumerate(plan.steps, start=1):
        arguments = step.arguments(study_dir, [text for text in extra if not text.startswith("study_dir=")])
        sys.stdout.write(f"\n[{number}/{len(plan.steps)}] python {step.script}.py {' '.join(arguments)}\n")
        sys.stdout.flush()
        status = subprocess.call([sys.executable, str(root / f"{step.script}.py"), *arguments], env=os.environ.copy())
        if status:
            sys.stderr.write(f"error: step {number} of study '{plan.name}' ended with status {status}\n")
            return status
    sys.stdout.write(f"\nStudy '{plan.name}' finished in {time.perf_counter() - started:.0f} s.\n")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Command line of ``python -m pretune.study``; return the exit status."""
    try:
        root = find_root()
        if not arguments or arguments[0] in ("-h", "--help"):
            sys.stdout.write((__doc__ or "") + "\nStudies:\n")
            for name in list_studies(root):
                sys.stdout.write(f"  {name:<14} {read_study(root, name).description}\n")
            return 0
        wrong = [text for text in arguments[1:] if "=" not in text]
        if wrong:
            raise UsageError(f"{wrong[0]}: further arguments must be key=value")
        plan = read_study(root, arguments[0])
        check_keys(plan, arguments[1:])
        return run_study(plan, root, arguments[1:])
    except PretuneError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on where this one stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
