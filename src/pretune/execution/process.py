"""What every process of pretune sets up before it works: environment, logging, SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from pretune.config.secrets import redact
from pretune.errors import Terminated


class StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the time: a progress bar puts its own in place to stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(redact(self.format(record)) + "\n")


def set_up_process() -> None:
    """Set up environment, logging and SIGTERM; to be called before torch is imported."""
    # Spinning OpenMP threads make a busy machine dozens of times slower; it must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[StderrHandler()])
    logging.getLogger("pretune").setLevel(logging.INFO)
    for library in ("huggingface_hub", "datasets"):  # they write their messages themselves: once is enough
        logging.getLogger(library).propagate = False
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


def terminate(*_: object) -> None:
    """Handle SIGTERM: leave everything in order, as after Ctrl-C. A training saves its step first."""
    raise Terminated("stopped by SIGTERM")
