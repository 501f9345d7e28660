"""camnorm's command line in a process that ends, or waits, before its N-th operation on files of a folder.

Usage: child.py PLAN ARGUMENT..., where PLAN is a `common.Plan` as JSON. Operations are the audit events of
opening, making, moving and removing files, and the calls of `os.fsync` and `os.pwrite`. To end a run before
each of them in turn shows every state in which the folder can be left, except within what the HDF5 library
writes by itself.

Checkpoints are saved after every file, so that small sets have some.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

# Audit events, and how many of their arguments are paths.
_EVENTS = {
    "open": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "shutil.rmtree": 1,
}


def follow(folder: str, at: int, signal: int, seconds: float, report: str) -> None:
    """Send a signal, or wait, before the operation `at`; at the end write their number to a file."""
    numbers = count(1)  # steps of the interpreter are atomic: threads need no lock

    def step() -> None:
        if next(numbers) == at:
            if signal:
                os.kill(os.getpid(), signal)
            time.sleep(seconds)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        paths = arguments[: _EVENTS.get(event, 0)]
        if any(_is_below(folder, path) for path in paths):
            step()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            step()
            return function(*arguments)

        return call

    sys.addaudithook(hook)
    os.fsync, os.pwrite = counted(os.fsync), counted(os.pwrite)
    if report:
        atexit.register(lambda: Path(report).write_text(str(next(numbers) - 1)))


def _is_below(folder: str, path: object) -> bool:
    """Whether a path is in a folder, or relative: to a descriptor then, as commands are given whole paths."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    name = os.fsdecode(path)
    return name.startswith(folder) or not name.startswith("/")


def measure_in_small_steps() -> AbstractContextManager[None]:
    """Add every file of a measurement for itself, and save a checkpoint after each."""
    from camnorm.sizes import divided

    return divided(added_bytes=0, stored_bytes=0, checkpoint_seconds=0.0, checkpoint_share=0.0)


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    sys.argv[:] = ["camnorm", *sys.argv[2:]]
    follow(**plan)
    from camnorm.cli import main

    with measure_in_small_steps():
        main()
