"""Digests of what a sensor file holds: damage that HDF5 does not notice is found when the file is read.

They protect from accidents. Numbers have CRC-32, since BLAKE2b takes several times as long as reading them.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from camnorm.limits import usable_threads
from camnorm.sensor.table import NAME_ERRORS

__all__ = ["ATTRIBUTE", "DamageError", "Digests", "digests"]

ATTRIBUTE = "digest"
"""Attribute of a file with the digests of its parts, one per line."""

# Bytes of a block of numbers.
_BLOCK = 4 * 2**20

_WHOLE = "all lines above"

Item = TypeVar("Item")
Result = TypeVar("Result")


class DamageError(ValueError):
    """A file holds numbers that are not those that were written, or that no frames have."""


class Digests:
    """Digests (BLAKE2b) of the attributes and data sets of a file, collected as these are written or read.

    What is digested is type and shape, and the content: strings in UTF-8, each with a zero byte behind it; or
    of numbers, little-endian and in C order, the CRC-32 of each block of 4 MiB.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        Computes them.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._found: dict[str, str | list[Future[int]]] = {}
        self._heads: dict[str, bytes] = {}

    def add(self, name: str, value: Any) -> None:
        """Take up an attribute or data set; its numbers may not change before `as_text` or `check`.

        Parameters
        ----------
        name : str
            Path in the file, with ``@`` before the name of an attribute.
        value : str, bytes, number, ndarray, or sequence of these
            The content. Arrays of objects hold strings.
        """
        texts = _texts(value)
        if texts is not None:
            content = b"".join(text + b"\0" for text in texts)
            self._found[name] = _hash(f"text {len(texts)}\n".encode(), content).hex()
            return
        array = np.asarray(value)
        array = _little(array)
        data = array.reshape(-1).view(np.uint8)
        self._heads[name] = _head(array.dtype, np.shape(value))
        self._found[name] = [
            self._pool.submit(zlib.crc32, data[start : start + _BLOCK].data)
            for start in range(0, data.size, _BLOCK)
        ]

    def add_blocks(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        block: Callable[[int, int], npt.NDArray[Any]],
    ) -> None:
        """Take up numbers that are read or written block by block meanwhile, by several threads.

        Parameters
        ----------
        name : str
            Path in the file.
        dtype : dtype
            Of the numbers as the file holds them.
        shape : tuple of int
            Of the data set.
        block : callable
            Called with the place of the first number of each block, in C order, and that after its last.
            Returns these numbers.
        """
        size, step = math.prod(shape), _BLOCK // dtype.itemsize

        def digest(start: int) -> int:
            numbers = block(start, min(start + step, size))
            return zlib.crc32(_little(numbers).view(np.uint8).data)

        self._heads[name] = _head(dtype, shape)
        crcs = [self._pool.submit(digest, start) for start in range(0, size, step)]
        self._found[name] = crcs
        wait(crcs)
        for crc in crcs:
            crc.result()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call a function for each item in the threads of the digests."""
        return self._pool.map(function, items)

    def as_text(self) -> str:
        """Return the digests as a file keeps them: one per line, as by ``b2sum``, and that of all."""
        lines = "".join(f"{self._of(name)}  {name}\n" for name in self._found)
        return f"{lines}{_hash(lines.encode()).hex()}  {_WHOLE}\n"

    def check(self, text: str) -> None:
        """Compare with what `as_text` gave when the file was written.

        Parameters
        ----------
        text : str
            It. Parts that were not written then are ignored.

        Raises
        ------
        DamageError
            If something is missing or differs; it is named.
        """
        lines, _, last = text.removesuffix("\n").rpartition("\n")
        lines += "\n"
        if last != f"{_hash(lines.encode(errors=NAME_ERRORS)).hex()}  {_WHOLE}":
            raise DamageError("the list of digests was changed after it was written")
        for line in lines.splitlines():
            expected, _, name = line.partition("  ")
            if name not in self._found:
                raise DamageError(f"{name} is missing")
            if self._of(name) != expected:
                raise DamageError(f"{name} was changed after it was written: its digest differs")

    def _of(self, name: str) -> str:
        found = self._found[name]
        if isinstance(found, str):
            return found
        return _hash(self._heads[name], *(block.result().to_bytes(4, "little") for block in found)).hex()


@contextmanager
def digests() -> Iterator[Digests]:
    """Give digests, which are computed by as many threads as may be used."""
    with ThreadPoolExecutor(usable_threads(None), thread_name_prefix="camnorm-digest") as pool:
        yield Digests(pool)


def _texts(value: Any) -> list[bytes] | None:
    """The strings of a value; None if it holds numbers, or strings of a fixed length."""
    if isinstance(value, (str, bytes)):
        value = [value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        value = value.reshape(-1).tolist()
    if isinstance(value, list) and all(isinstance(text, (str, bytes)) for text in value):
        return [text if isinstance(text, bytes) else text.encode(errors=NAME_ERRORS) for text in value]
    return None


def _little(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What is digested before the numbers."""
    return f"{dtype.newbyteorder('<').str} {shape}\n".encode()


def _hash(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part)
    return digest.digest()
