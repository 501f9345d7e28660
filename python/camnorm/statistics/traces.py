"""Float frames that leave a trace in the sums when they are subtracted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from camnorm import _core
from camnorm.statistics.sums import ExactSums

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TracedSums"]

_TRACES = (
    "frames that were subtracted leave a trace in the sums: some of their pixels are so much larger than the "
    "others that the sums have lost the last digits of these; mean and standard deviation of such pixels are "
    "not exact; build the sums again without those frames"
)


class TracedSums(ExactSums[_core.PixelMoments]):
    """Sums that know whether frames that were subtracted have left a trace."""

    __slots__ = ()

    def take_back(self, frames: npt.NDArray[Any], *, threads: int) -> None:
        """Subtract frames without a warning: the caller looks at `exact`.

        Parameters
        ----------
        frames, threads
            As for `subtract`.
        """
        with self._lock:
            self._core.subtract(frames, threads)

    def __sub__(self, other: Self) -> Self:
        result = super().__sub__(other)
        if result is not NotImplemented and result._core.traces > self._core.traces + other._core.traces:
            warnings.warn(_TRACES, stacklevel=2)
        return result

    @property
    def exact(self) -> bool:
        """Whether no frame that was taken away has left a trace since the sums were made or empty.

        Always true of integer frames. Of float frames, a pixel that exceeds the standard deviation of its
        pixel vector by far (from a factor of 100,000 on) takes the last digits of the others away when it
        is added; these do not come back when it is subtracted. A saved or pickled state does not hold this.
        """
        return self._core.traces == 0

    @contextmanager
    def _warns_of_traces(self) -> Iterator[None]:
        """Warn, at the end or after an error, if frames have left a trace meanwhile."""
        before = self._core.traces
        try:
            yield
        finally:
            if self._core.traces > before:
                warnings.warn(_TRACES, stacklevel=4)
