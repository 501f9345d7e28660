"""Mixed sets: each group of one shape, pixel type, camera and mode of exposure is measured on its own."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error, FormatError, ResourceError
from camnorm.io import Chosen, ReadOptions, Selection
from camnorm.io.base.catalogue import Catalogue
from camnorm.limits import usable_threads
from camnorm.measurement.checkpoint import Checkpoint
from camnorm.measurement.modes import modes
from camnorm.measurement.output import Output
from camnorm.measurement.run import measure_source
from camnorm.measurement.screening import Range, Rules
from camnorm.measurement.settings import Settings
from camnorm.measurement.source import Inputs, Source, find_source
from camnorm.progress import Progress
from camnorm.sensor.sensor import Sensor

__all__ = ["measure_groups"]


def measure_groups(
    inputs: Inputs,
    output: str | os.PathLike[str] | None = None,
    *,
    screen: str | float = "auto",
    mean_limits: Range | None = None,
    std_limits: Range | None = None,
    response: bool = False,
    neighbours: bool = False,
    options: ReadOptions | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Sensor]:
    """Measure a mixed set: each group of one shape, pixel type, camera and mode of exposure on its own.

    Parameters
    ----------
    inputs, screen, mean_limits, std_limits, response, neighbours, options, overwrite, strict, threads,
    progress
        As of `measure`.
    output : path-like, optional
        ``sensor.h5`` stands for ``sensor_1.h5``, ``sensor_2.h5`` and so on, in the order of the groups.

    Yields
    ------
    Sensor
        Of each group, in the order of their first frames, when it was measured and written: not all are in
        memory at a time.

    Raises
    ------
    Error, ValueError, OSError
        As of `measure`. What of the groups was written before stays.

    Notes
    -----
    Files are grouped by their headers, and each group is measured. If its frames turn out to be of more than
    one mode, such as two exposures (`camnorm.screening.modes`), they are read once more, mode by mode. A
    group of which no frame can be used is left out with a warning, unless there is no other, or `strict`.

    After an interruption the same call measures finished groups again, and continues within the one
    that was not.

    Examples
    --------
    >>> import camnorm
    >>> for sensor in camnorm.measure_groups(["movies", "other"], "sensor.h5"):
    ...     print(sensor)
    <Sensor measured from 64 uint16 frames of shape (64, 64)>
    <Sensor measured from 8 uint8 frames of shape (48, 64)>
    """
    settings = Settings(
        Rules.of(screen, mean_limits, std_limits, listed=False),
        response,
        neighbours,
        options or ReadOptions(),
        usable_threads(threads),
        strict,
        progress,
    )
    whole, settings = find_source(inputs, None, Selection(), settings)
    groups = _by_header(whole.catalogue, settings)
    if output is None:
        return _measure_groups(groups, settings, None)
    return _measure_groups(groups, settings, Output(Path(output), overwrite, whole.protected))


def _measure_groups(groups: list[Source], settings: Settings, output: Output | None) -> Iterator[Sensor]:
    def target(ending: str | int) -> AbstractContextManager[Checkpoint | None]:
        return nullcontext() if output is None else Checkpoint(output.named(ending))

    written = 0
    for number, group in enumerate(groups, start=1):
        if output is not None:
            output.named(written + 1).check_part(group.files)
        # Under a name that no result has, since the group may turn out to be several.
        with target(f"group{number}") as checkpoint:
            try:
                whole = measure_source(group, settings, checkpoint)
            except (FormatError, ResourceError):  # of strict, and no fault of the group
                raise
            except Error as error:
                if not written and number == len(groups):
                    raise
                warnings.warn(f"a group of {len(group.files)} files is left out: {error}", stacklevel=3)
                continue
            found = modes(whole.frames, whole.dtype, math.prod(whole.shape))
            parts = (
                [Source.of_rows(whole.frames[rows], group.catalogue, settings) for rows in found]
                if len(found) > 1
                else []
            )
            if parts:
                _warn_of_left_out(whole.frames, found)
            else:
                written += 1
                if output is not None:
                    output.named(written).save(whole)
                yield whole
            del whole  # two sets of moments at a time are too many
            for part in parts:
                written += 1
                with target(written) as own:
                    sensor = measure_source(part, settings, own)
                    if own is not None:
                        own.finish(sensor)
                yield sensor
                del sensor
            if checkpoint is not None:
                checkpoint.remove()


def _warn_of_left_out(frames: npt.NDArray[np.void], groups: Sequence[npt.NDArray[np.intp]]) -> None:
    """Warn of frames that are in none of the modes of a group, and so in no measurement."""
    rows = np.setdiff1d(np.arange(frames.size), np.concatenate(groups))
    if rows.size:
        file, index, reason = frames[rows[0]][["file", "index", "reason"]].tolist()
        warnings.warn(
            f"{rows.size} of {frames.size} frames are of no kind that could be measured, the first: {file}, "
            f"frame {index}: {reason or 'an exposure of its own'}",
            stacklevel=4,
        )


def _by_header(catalogue: Catalogue, settings: Settings) -> list[Source]:
    """Files grouped by what their headers tell; those that cannot be opened stay with the first group."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    unknown: list[int] = []
    for number, entry in enumerate(catalogue.scan()):
        if entry is None:
            if settings.strict:
                catalogue.entry(number)  # raises why not
            unknown.append(number)
        else:
            groups.setdefault((entry.shape, entry.dtype, entry.camera), []).append(number)
    first, *others = list(groups.values()) or [[]]
    parts = (catalogue.part(group) for group in ([*first, *unknown], *others))
    return [Source(part, Selection(), Chosen(Selection())) for part in parts]
