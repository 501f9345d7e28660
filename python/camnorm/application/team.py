"""The threads of a run: each has a file of its own, until fewer files than threads are left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import LifoQueue
from typing import TypeVar

from camnorm.application.blocks import Buffer

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class Team:
    """Threads that take a file each, and help with the parts of another's.

    Parameters
    ----------
    files : int
        Number of files that are begun and not yet in their place, at most.
    threads : int
        Number of threads that work at a time, while others wait for files to be on disk.
    """

    def __init__(self, files: int, threads: int) -> None:
        self.threads = threads
        self.changed = threading.Condition()
        """Notified when a part is done; also the lock of what all threads count."""
        self.stopped = False
        """Whether what is not done is to be left."""
        self._buffers: LifoQueue[tuple[Buffer, Buffer]] = LifoQueue()
        for _ in range(threads):
            self._buffers.put((Buffer(), Buffer()))
        self._pool = ThreadPoolExecutor(files + threads, thread_name_prefix="camnorm-correct")

    def begin(self, do: Callable[[int], _Result], number: int) -> Future[_Result]:
        """Begin a file."""
        return self._pool.submit(do, number)

    def stop(self) -> None:
        """Leave all that is not done, and wait for the threads."""
        self.stopped = True
        self._pool.shutdown(cancel_futures=True)

    def share(
        self,
        parts: Iterable[_Part],
        do: Callable[[_Part, Buffer, Buffer], None],
        threads: int,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do all parts of a file in several threads: the next one as soon as it is ready."""
        left = deque(enumerate(parts))
        failed: list[tuple[int, Exception]] = []
        active = 0

        def work() -> None:
            nonlocal active
            buffers = self._buffers.get()
            with self.changed:
                active += 1
            with suppress(IndexError):
                while not self.stopped:
                    with self.changed:
                        self.changed.wait_for(lambda: ready() or not left)
                        number, part = left.popleft()
                    try:
                        do(part, *buffers)
                    except Exception as error:
                        failed.append((number, error))
                        left.clear()
                    with self.changed:
                        self.changed.notify_all()
            with self.changed:
                active -= 1
                self.changed.notify_all()
            self._buffers.put(buffers)

        for _ in range(min(threads, len(left)) - 1):
            self._pool.submit(work)
        work()
        with self.changed:
            # Those that come to it later find nothing to do.
            self.changed.wait_for(lambda: active == 0)
        if failed:
            raise min(failed)[1]
        if self.stopped:
            raise CancelledError
