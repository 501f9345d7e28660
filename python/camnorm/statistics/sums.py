"""What all exact, additive sums over frames can do, whatever they are sums of."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm import _core

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ExactSums"]


class CoreSums(Protocol):
    """Sums of the compiled core."""

    @property
    def count(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def merge(self, other: Any, threads: int) -> None: ...
    def unmerge(self, other: Any, threads: int) -> None: ...
    def copy(self) -> Any: ...
    def parts(self) -> dict[str, npt.NDArray[Any]]: ...


Core = TypeVar("Core", bound=CoreSums)
OtherCore = TypeVar("OtherCore", bound=CoreSums)


class ExactSums(Generic[Core]):
    """Sums of a set of frames, which form a group; one object may be used from several threads."""

    __slots__ = ("_core", "_lock")

    _make: ClassVar[Any]
    """Class of the compiled core."""

    _core: Core
    _lock: threading.Lock

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._core = self._make(tuple(shape), dtype)
        self._lock = threading.Lock()

    @classmethod
    def _wrap(cls, core: Core) -> Self:
        self = cls.__new__(cls)
        self._core = core
        self._lock = threading.Lock()
        return self

    @property
    def count(self) -> int:
        """Number of frames in the sums."""
        return self._core.count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame, (y, x) or (y, x, c)."""
        return self._core.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type that the sums were made for."""
        return self._core.dtype

    def merge(self, other: Self, *, threads: int | None = None) -> None:
        """Add all the frames of another object.

        Parameters
        ----------
        other : object of the same class
            Of frames of the same shape and kind.
        threads : int, optional
            Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

        Raises
        ------
        TypeError
            If `other` is of the other kind, or of another class.
        ValueError
            If `other` has another shape, or the sums would overflow.
        """
        if not isinstance(other, type(self)):
            raise TypeError(f"other must be {type(self).__name__}, not {type(other).__name__}")
        with self.held_with(other) as (mine, its):
            mine.merge(its, _core.resolve_threads(threads))

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, type(self)):
            return NotImplemented
        result = self.copy()
        result.merge(other)
        return result

    def __sub__(self, other: Self) -> Self:
        if not isinstance(other, type(self)):
            return NotImplemented
        result = self.copy()
        with result.held_with(other) as (left, taken):
            left.unmerge(taken, _core.resolve_threads(None))
        return result

    def copy(self) -> Self:
        """Return sums of their own with the same state."""
        with self._lock:
            return self._wrap(self._core.copy())

    def flipped(self) -> Self:
        """Return the sums of the same frames upside down, exactly."""
        result = self.copy()
        for part in result.parts().values():
            part[...] = part[::-1].copy()
        return result

    def parts(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of sums by name: not copies, so that files are written from and read into them.

        Returns
        -------
        dict
            As in a state: ``sum`` and so on.
        """
        return self._core.parts()

    @contextmanager
    def held_with(self, other: ExactSums[OtherCore]) -> Iterator[tuple[Core, OtherCore]]:
        """Hold the locks of two objects, which may be one, always in the same order.

        Parameters
        ----------
        other : ExactSums
            The other object.

        Returns
        -------
        context manager
            Gives the sums of the compiled core of both.
        """
        first, second = sorted((self._lock, other._lock), key=id)
        with first, nullcontext() if second is first else second:
            yield self._core, other._core

    def numbers(self) -> dict[str, Any]:
        """Return what belongs to the state besides `parts`: ``count``."""
        return {"count": self.count}

    def set_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take over what `numbers` gave.

        Parameters
        ----------
        numbers : mapping
            Of the names and types that `numbers` gives.
        """
        core: Any = self._core  # sums of other classes have more numbers, and a function for them
        core.count = operator.index(numbers["count"])

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make sums from a state.

        Parameters
        ----------
        state : mapping
            What `state` gave.

        Returns
        -------
        object of this class
            With the same bits.

        Raises
        ------
        TypeError, ValueError
            If an entry is missing or has another dtype or shape than said there.
        """
        missing = [key for key in ("shape", "dtype") if key not in state]
        if missing:
            raise ValueError(f"the state has no {missing[0]!r}")
        self = cls(state["shape"], state["dtype"])
        numbers = self.numbers()
        for name in numbers:
            if name not in state:
                raise ValueError(f"the state has no {name!r}")
        self._fill(state)
        self.set_numbers(
            {
                name: operator.index(state[name]) if isinstance(number, int) else float(state[name])
                for name, number in numbers.items()
            }
        )
        return self

    def _state(self) -> dict[str, Any]:
        """The exact state, with copies of all arrays."""
        with self._lock:
            arrays = {name: part.copy() for name, part in self.parts().items()}
            return {"shape": self.shape, "dtype": self.dtype.name, **self.numbers(), **arrays}

    def _fill(self, state: Mapping[str, Any]) -> None:
        """Take the arrays of a state; ValueError or TypeError if one is missing or of another kind."""
        for name, part in self.parts().items():
            if name not in state:
                raise ValueError(f"the state has no {name!r}")
            _core.check_unmasked(state[name], name)
            array = np.asarray(state[name])
            if array.dtype != part.dtype:
                raise TypeError(f"{name} must be of dtype {part.dtype}, not {array.dtype}")
            if array.shape != part.shape:
                raise ValueError(f"{name} has shape {array.shape}, the frames {part.shape}")
            part[...] = array

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.count} {self.dtype} frames of shape {self.shape}>"
