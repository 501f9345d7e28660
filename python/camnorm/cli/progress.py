"""Progress of a verb on stderr, and Ctrl-C that waits until it does no harm."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from camnorm.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID
    from typing_extensions import Self

__all__ = ["PoliteInterrupt", "ProgressBar"]


class ProgressBar:
    """Progress of a verb on stderr, if that is a terminal; a callback for the library.

    It ends the verb after a signal whose KeyboardInterrupt was lost, as in a finalizer.
    """

    def __init__(self, quiet: bool, signals: Sequence[int]) -> None:
        self.bytes = 0
        """Bytes of pixels read."""
        self.rate = ""
        """Frames and megabytes a second since the first report of the stage."""
        self._stage = ""
        self._begin = (0.0, 0, 0)
        self._signals = signals
        self._task: TaskID | None = None
        self._shown = sys.stderr.isatty() and not quiet
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                expand=True,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if self._signals:
            raise KeyboardInterrupt
        now = time.monotonic()
        self.bytes = progress.bytes
        if progress.stage != self._stage:
            # Rates leave out what an interrupted run had done before.
            self._stage = progress.stage
            self._begin = (now, progress.frames, progress.bytes)
            self._start_stage(progress)
        begin, frames, pixels = self._begin
        if now > begin and progress.frames > frames:
            self.rate = _rate(progress.frames - frames, progress.bytes - pixels, now - begin)
        if self._task is not None:
            self._bar.update(self._task, completed=progress.done, rate=self.rate)

    def _start_stage(self, progress: Progress) -> None:
        if not self._shown:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(progress.stage, total=progress.total, rate="")


class PoliteInterrupt:
    """Ctrl-C that waits for the next report, when the state of a measurement can be saved.

    At other times a library may swallow it, or the checkpoint is lost. A second one does not wait.
    """

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self, progress: Progress) -> None:
        self._report(progress)
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


def _rate(frames: int, pixels: int, seconds: float) -> str:
    return f"{_three_digits(frames / seconds)} frames/s, {_three_digits(pixels / seconds / 1e6)} MB/s"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):.0f}"
