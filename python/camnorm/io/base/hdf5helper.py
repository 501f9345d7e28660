"""A process that opens what may crash the HDF5 library, or keep it busy for ever, before this one does."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Any

from camnorm.errors import ResourceError

_START_SECONDS = 60.0
_TRIAL = "camnorm.io.base.hdf5trial"  # what the process does


@lru_cache(2**12)
def bearable(
    file: str, name: str, mtime_ns: int, size: int, attribute: str | None = None, follow: bool = False
) -> bool:
    """Whether another process survives reading an attribute, or opening a dataset and reading a frame."""
    return helper.bears([file, name, attribute, follow])


class Helper:
    """A process that opens datasets: started when it is needed, and again when it had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self.wanted = True
        """Not within the process itself."""
        self.seconds = 60.0
        """Longest time that a trial may take."""

    def bears(self, request: list[Any]) -> bool:
        """Whether it survives a request in time; also where there is no way to start it."""
        if not self.wanted:
            return True
        with self._lock:
            if self._owner != os.getpid() or self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            if process is None:
                return True
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            if answers(process, self.seconds):
                return True
            killed = process.poll() == -signal.SIGKILL  # as the system does when memory is short
            self.end()
            if killed:
                raise ResourceError(f"the process that tries {request[0]} was killed: not enough memory?")
            return False

    def _start(self) -> None:
        self.end()
        self._process, self._owner = None, os.getpid()  # not that of a parent
        if not sys.executable:  # Python within another program
            return
        # Not by multiprocessing, which would run the user's script again.
        script = f"import sys; sys.path[:] = {sys.path!r}; from {_TRIAL} import main; main()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except OSError as error:
            reason = f"the system starts no process that tries virtual datasets ({error.strerror})"
            raise ResourceError(reason) from error
        if not answers(self._process, _START_SECONDS):
            self.end()

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()
            process.wait()


def answers(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a byte, so long; none comes of a process that has ended."""
    assert process.stdout is not None
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    return bool(poll.poll(1000 * seconds)) and len(process.stdout.read(1)) == 1


helper = Helper()
atexit.register(helper.end)
