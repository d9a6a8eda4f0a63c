"""The entry points behind the scripts: from the command line to an exit status.

Exit status 0: all is well; 1: something failed; 2: what was asked for is not possible (nothing was started);
130: interrupted; 75: ended by SIGTERM, the same command goes on (EX_TEMPFAIL). Nothing heavy is imported until a job
runs.
"""

from __future__ import annotations

import os
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config.arguments import check_launcher, find_repeated
from pretune.config.axes import hold_back, quote_axes
from pretune.config.schema import register
from pretune.config.secrets import check_overrides, overrides_in, redact
from pretune.config.trust import check_config_folders
from pretune.errors import PretuneError, Terminated, UsageError
from pretune.execution.crew import is_follower
from pretune.execution.member import follow
from pretune.execution.process import set_up_process

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE, FAILURE, INTERRUPTED, RESUME = 2, 1, 130, 75


def launch(main: Callable[[], Any]) -> None:
    """Run a script's Hydra ``main``; every error becomes one readable message and an exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach explain() instead of being printed by Hydra
    register()
    set_up_process()
    if is_follower():
        sys.exit(follow())
    sys.argv[1:] = quote_axes(sys.argv[1:])
    try:
        overrides = overrides_in(sys.argv[1:])
        check_overrides(overrides)
        check_launcher(overrides)
        if {"-m", "--multirun"} & set(sys.argv[1:]):
            sys.argv[1:] = hold_back(sys.argv[1:])
        check_config_folders(sys.argv[1:], script=Path(sys.argv[0]).resolve())
        sys.stderr.writelines(f"{redact(line)}\n" for line in find_repeated(overrides))
        main()
    except (Exception, KeyboardInterrupt, Terminated) as error:
        sys.exit(explain(error, debug=asks_for_debug(sys.argv)))


def run_script(script: str, config: DictConfig) -> Any:
    """Hydra's task function: run one configuration, or the chunk of a sweep that a launcher handed over."""
    chunk = config.get("chunk")
    if chunk is not None:
        from pretune.execution.grid import read_chunk
        from pretune.execution.session import run_chunk

        try:
            jobs = read_chunk(Path(chunk))
        except PretuneError as error:
            raise SystemExit(explain(error, debug=bool(config.get("debug")))) from None
        return run_chunk(jobs)
    try:
        status = _run_single(script, config)
    except (Exception, KeyboardInterrupt, Terminated) as error:
        status = explain(error, debug=bool(config.get("debug")))
    # Hydra has no other way to pass a status on, and prints the overrides of a job that ends with an exception.
    if status:
        raise SystemExit(status)
    return status


def _run_single(script: str, config: DictConfig) -> int:
    if script == "report":
        from pretune.report.command import run_report

        return run_report(config)
    from hydra.core.hydra_config import HydraConfig

    from pretune.config.expansion import Point
    from pretune.config.library import Library
    from pretune.execution.session import run_points

    overrides = tuple(HydraConfig.get().overrides.task)
    return run_points(script, [Point(overrides=overrides, config=config)], Library.of_this_run())


def asks_for_debug(arguments: list[str]) -> bool:
    """Whether ``debug=true`` is among the overrides."""
    return any(text.lower() in ("debug=true", "debug=1", "+debug=true") for text in arguments)


def explain(error: BaseException, *, debug: bool) -> int:
    """Write one readable message about ``error`` to standard error; return the exit status."""
    if debug:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("\ninterrupted; the same command goes on where this one stopped\n")
        return INTERRUPTED
    if isinstance(error, Terminated):
        sys.stderr.write(f"\n{error}; the same command goes on where this one stopped\n")
        return RESUME
    if isinstance(error, PretuneError):
        sys.stderr.write(f"error: {redact(str(error))}\n")
        return USAGE if isinstance(error, UsageError) else FAILURE
    from pretune.config.diagnosis import diagnose, is_refusal

    if is_refusal(error):
        sys.stderr.write(f"error: {redact(diagnose(typing.cast(Exception, error), sys.argv))}\n")
        return USAGE
    if isinstance(error, BrokenPipeError):  # whoever read the output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    if isinstance(error, OSError):
        sys.stderr.write(f"error: {error.strerror or error}: {error.filename or ''}\n")
        return FAILURE
    sys.stderr.write(f"error: {type(error).__name__}: {redact(str(error))}\n(debug=true shows the traceback)\n")
    return FAILURE
