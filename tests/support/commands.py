"""Running the scripts as a user does: each command is a process of its own, in a folder of its own.

Most commands are forked from a warm process that has imported the heavy libraries and nothing of pretune: what runs
is the script itself, with its own arguments, working folder, environment, output and exit status, but without the
seconds that importing torch takes. ``fresh=True`` starts a new interpreter instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "transformers")
PRELOADED = [
    "torch",
    "lightning.pytorch",
    "transformers",
    "transformers.models.olmo.modeling_olmo",
    "pandas",
    "pyarrow.parquet",
    "rouge_score.rouge_scorer",
    "hydra._internal.hydra",
]
TIMEOUT = 120.0
NO_HUB = "http://127.0.0.1:9"
"""An address at which nothing answers."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """Environment of a command: no account, no hub, one thread."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **inherited,
        "HOME": str(home),
        "HF_ENDPOINT": NO_HUB,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_COLOR": "1",
        **more,
    }


@dataclass(frozen=True)
class Result:
    """What a finished command left behind."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both outputs."""
        return f"{self.out}\n{self.err}"

    @property
    def done(self) -> tuple[int, int]:
        """Train and evaluate cells made by this command."""
        if "Nothing to do" in self.out:
            return (0, 0)
        found = re.search(r"(\d+) train and (\d+) evaluate cells done", self.out)
        assert found, self.text
        return int(found[1]), int(found[2])

    @property
    def probed(self) -> tuple[int, int]:
        """Probe cells made by this command, and those that were finished before."""
        found = re.search(r"all (\d+) probe cells were finished before", self.out)
        if found:
            return (0, int(found[1]))
        if "the probe cell was finished before" in self.out:
            return (0, 1)
        found = re.search(r"(\d+) probe cells? done; (\d+) (?:were|was) finished before", self.out)
        assert found, self.text
        return int(found[1]), int(found[2])

    @property
    def before(self) -> tuple[int, int]:
        """Train and evaluate cells that were finished before."""
        found = re.search(r"(\d+)(?: train)? and (\d+)(?: evaluate cells)? were finished before", self.out)
        assert found, self.text
        return int(found[1]), int(found[2])


class Running:
    """A command in progress."""

    def __init__(self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], fresh: bool) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._out, self._err = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        self._fresh = fresh
        if fresh:
            with open(self._out, "wb") as out, open(self._err, "wb") as err:
                self._popen = subprocess.Popen(
                    [sys.executable, *arguments],
                    cwd=cwd,
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    preexec_fn=_heed_ctrl_c,
                )
            self.pid = self._popen.pid
        else:
            _start_warm_process()
            self._process = get_context("forkserver").Process(
                target=_become, args=(list(arguments), str(cwd), dict(env), str(self._out), str(self._err))
            )
            self._process.start()
            self.pid = int(self._process.pid or 0)

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None if self._fresh else self._process.is_alive()

    def kill(self) -> None:
        """Kill it, and what it started, without a chance to tidy up, and see it gone."""
        self._kill_all()
        self.wait()

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = TIMEOUT) -> Result:
        """Wait for the end."""
        if self._fresh:
            try:
                status = self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._kill_all()
                raise
        else:
            self._process.join(timeout)
            if self._process.is_alive():
                self._kill_all()
                raise TimeoutError(f"the command did not end in {timeout} s")
            status = int(self._process.exitcode or 0)
        result = Result(status, _read(self._out), _read(self._err))
        self._folder.cleanup()
        return result


def _heed_ctrl_c() -> None:
    """A shell's background job, and all that it starts, ignores Ctrl-C; a command that a user types does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None, fresh: bool = False) -> Running:
    """Start ``python <arguments>``; a first argument like ``train.py`` is the script in the repository."""
    words = [str(word) for word in arguments]
    if words[0].endswith(".py"):
        words[0] = str(ROOT / words[0])
    return Running(words, cwd=cwd, env=environment(cwd.parent) if env is None else env, fresh=fresh)


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None, fresh: bool = False) -> Result:
    """Run ``python <arguments>`` to its end."""
    return start(*arguments, cwd=cwd, env=env, fresh=fresh).wait()


def wait_until(condition: Callable[[], bool], *, seconds: float = 120.0, pause: float = 0.002) -> bool:
    """Wait for a condition; whether it came true in time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(pause)
    return True


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _start_warm_process() -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    os.environ.update(environment(Path(before.get("HOME", "/"))))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _become(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """In the forked process: become the command."""
    for target, descriptor, flags in (
        (os.devnull, 0, os.O_RDONLY),
        (out, 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (err, 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(target, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path = [entry for entry in sys.path if not entry.startswith(str(ROOT / "tests"))]
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, cwd)
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(arguments)
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
