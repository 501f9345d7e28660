"""The movies that files for another program are made for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camnorm.errors import Error
from camnorm.handover.program import Movies, Program
from camnorm.io import open_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["movies_for", "sub_pixel_factors"]

_SUFFIXES = {"MRC": ".mrc", "TIFF": ".tif", "EER": ".eer"}

# Frames from which the factors of sub-pixels are found: each is a mean over all pixels of the camera.
_FRAMES_LOOKED_AT = 20


def movies_for(sensor: Sensor, like: str | os.PathLike[str] | None, program: Program) -> Movies:
    """Find out which movies a program is to read.

    Parameters
    ----------
    sensor : Sensor
        Whose own movies are meant if `like` is None.
    like : path-like, optional
        One of the movies.
    program : Program
        Which has to read them.

    Returns
    -------
    Movies

    Raises
    ------
    Error
        The program does not read them.
    FormatError, OSError
        The movie cannot be read.
    """
    if like is None:
        return _own_movies(sensor, program)
    with open_frames(like, replace(sensor.options.without_references, row_order=None)) as source:
        if len(source.shape) != 2:
            raise Error(f"{like}: {program.title} takes no colour frames")
        if program.formats and source.format not in program.formats:
            known = ", ".join(program.formats[:-1]) + f" or {program.formats[-1]}"
            raise Error(
                f"{like}: {program.title} gets no gain for {source.format} movies, only for {known}: write "
                "corrected TIFF movies with camnorm correct, and use those without a gain"
            )
        height, width = source.shape
        found = Movies(os.fspath(like), source.format, (height, width), source.row_order)
    return _rendered(found, sensor, program)


def _rendered(movies: Movies, sensor: Sensor, program: Program) -> Movies:
    """EER movies as the sensor's options and the program render them; others as they are."""
    if movies.format != "EER":
        return movies
    given = sensor.options.eer_sampling or 1
    sampling = min(given, program.most_sampling)
    height, width = (length * sampling // given for length in movies.shape)
    grouping = sensor.options.eer_grouping or 1
    return replace(movies, shape=(height, width), sampling=sampling, grouping=grouping)


def _own_movies(sensor: Sensor, program: Program) -> Movies:
    """Movies like those that the sensor was measured from, which may be gone."""
    names = [Path(name) for name in sensor.provenance["files"]["path"].tolist()]
    eer = any(name.suffix.lower() == ".eer" for name in names)
    kind = "EER" if eer else "TIFF" if sensor.row_order == "top" else "MRC"
    name = names[0].name if names else f"movie{_SUFFIXES[kind]}"
    height, width = sensor.shape[:2]
    return _rendered(Movies(name, kind, (height, width), sensor.row_order), sensor, program)


def sub_pixel_factors(
    sensor: Sensor, like: str | os.PathLike[str], step: int
) -> tuple[NDArray[np.float64], int]:
    """How much brighter than their mean the sub-pixels of all physical pixels are, in a movie.

    Parameters
    ----------
    sensor : Sensor
        Says how its files are read.
    like : path-like
        A movie of `step` times its sampling.
    step : int
        Sub-pixels along a physical pixel.

    Returns
    -------
    tuple of ndarray of float64, shape (step, step), and int
        The factors, whose mean is 1; and from how many frames.
    """
    with open_frames(like, replace(sensor.options.without_references, row_order=None)) as source:
        count = min(source.available, _FRAMES_LOOKED_AT)
        total = np.zeros((step, step))
        for index in range(count):
            frame = source.view(index)[0]
            height, width = frame.shape
            total += frame.reshape(height // step, step, width // step, step).mean((0, 2), dtype=np.float64)
        source.check_whole()
    if not total.min() > 0:
        return np.ones((step, step)), count
    return total / total.mean(), count
