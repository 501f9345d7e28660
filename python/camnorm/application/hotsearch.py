"""Hot pixels of movies that are not corrected: for the health of a sensor."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable

from camnorm.application.blocks import Blocks
from camnorm.application.corrector import opened
from camnorm.application.fit import Fit
from camnorm.application.hotpixels import Expectation, HotPixels, places_of
from camnorm.application.sums import sum_of
from camnorm.application.team import Team
from camnorm.apriori import check_references
from camnorm.errors import FormatError
from camnorm.io import ReadOptions, expand_inputs
from camnorm.io.base.settling import settled_catalogue
from camnorm.limits import usable_threads
from camnorm.progress import Progress
from camnorm.sensor.sensor import Sensor

__all__ = ["find_hot_pixels"]


def find_hot_pixels(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sensor: Sensor,
    *,
    options: ReadOptions | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> list[HotPixels]:
    """Find the pixels that are hot in each file.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        As of `camnorm.correct`.
    sensor : Sensor
        The measured set. Files that are part of it raise their own expectation a little.
    options, threads, progress
        As of `camnorm.correct`.

    Returns
    -------
    list of HotPixels
        One for each file that could be read, in the order of the inputs; a warning names the others.
    """
    options = sensor.read_options(options)
    check_references(options, sensor.shape)
    workers = usable_threads(threads)
    paths = [file.path for file in expand_inputs(inputs, options)]
    _, options = settled_catalogue(paths, options, workers)
    fit, expected = Fit(sensor), Expectation(sensor)
    found: list[HotPixels] = []
    failed = 0
    team = Team(1, workers)
    try:
        for number, path in enumerate(paths):
            try:
                with opened(path, options, fit) as source:
                    count = source.count
                    blocks = Blocks(source, range(count), source.dtype)
                    total = sum_of(blocks, team, workers)
                    source.check_whole()
                found.append(HotPixels(path, count, places_of(expected.hot(total, count))))
            except FormatError as error:
                failed += 1
                warnings.warn(f"not searched for hot pixels: {error}", stacklevel=2)
            if progress is not None:
                frames = sum(file.frames for file in found)
                progress(Progress("hot pixels", number + 1, len(paths), frames, 0, failed))
    finally:
        team.stop()
    return found
