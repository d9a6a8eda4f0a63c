"""Run a script under limits that a test sets in the environment: ``limited.py train.py …``.

``FAULTS_LARGEST_FILE``: bytes that a file may have, as on a disk that is nearly full (the system says EFBIG then).
``FAULTS_SYNC_ERROR``: number of the error that forcing a file to the disk ends with, as a full disk does that notices
late. ``FAULTS_UNPRIVILEGED``: file modes count even for root.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def give_up_privileges() -> None:
    """Drop all capabilities: root may no longer write what its mode forbids."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(Header(0x20080522, 0)), data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def main() -> None:
    if largest := os.environ.get("FAULTS_LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
    if number := os.environ.get("FAULTS_SYNC_ERROR"):

        def fsync(descriptor: int) -> None:
            raise OSError(int(number), os.strerror(int(number)))

        os.fsync = fsync
    if os.environ.get("FAULTS_UNPRIVILEGED") and os.geteuid() == 0:
        give_up_privileges()
    sys.argv = [str(ROOT / sys.argv[1]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
