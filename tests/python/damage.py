"""Damaged files, and what must come of them: whole frames or a FormatError that says where, nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from camnorm.errors import FormatError
from camnorm.io import ReadOptions, open_frames


def attempt(action: Callable[..., Any], *arguments: object) -> Any:
    """What an action returns, or the FormatError that it raises."""
    try:
        return action(*arguments)
    except FormatError as error:
        return error


def read_each(path: Path, options: ReadOptions | None = None) -> list[Any]:
    """All frames of a file, at most 40, or the FormatErrors in their places; the file's own alone."""
    source = attempt(open_frames, path, options or ReadOptions())
    if isinstance(source, FormatError):
        assert source.path == str(path)
        return [source]
    with source:
        results = [attempt(source.read, index) for index in range(min(source.count, 40))]
        for index, result in enumerate(results):
            if isinstance(result, FormatError):
                assert (result.path, result.frame) == (str(path), index)
            else:
                assert (result.shape, result.dtype) == ((1, *source.shape), source.dtype)
                assert result.nbytes < 2**28
    return results


def check_truncation(path: Path, frames: np.ndarray, *, points: int = 60, tail: int = 0) -> int:
    """Cut a file anywhere: frames stay as they are or are errors; the most of them that were read.

    The last `tail` bytes may be lost without loss to the pixels.
    """
    data = path.read_bytes()
    most = 0
    sizes = {*range(0, len(data), max(1, len(data) // points)), len(data) - tail - 1}
    for size in sorted(sizes):
        path.write_bytes(data[:size])
        results = read_each(path)
        good = [i for i, result in enumerate(results) if not isinstance(result, FormatError)]
        for i in good:
            np.testing.assert_array_equal(results[i], frames[i : i + 1])
        most = max(most, len(good))
        assert len(good) < len(frames) or size >= len(data) - tail, size
    path.write_bytes(data)
    return most


def check_mutations(path: Path, places: Iterable[int], count: int, seed: str) -> int:
    """Change a few bytes at these places, again and again; the number of files that still give frames."""
    data = path.read_bytes()
    random_ = random.Random(seed)
    places = list(places)
    readable = 0
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(random_.randint(1, 4)):
            place = random_.choice(places)
            damaged[place] = random_.choice([0, 1, 0x30, 0x39, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        path.write_bytes(damaged)
        readable += any(not isinstance(result, FormatError) for result in read_each(path))
    path.write_bytes(data)
    return readable
