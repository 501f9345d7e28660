"""The public function that measures a sensor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from camnorm.errors import Error
from camnorm.io import ReadOptions, Selection
from camnorm.limits import usable_threads
from camnorm.measurement.checkpoint import Checkpoint
from camnorm.measurement.output import Output
from camnorm.measurement.run import measure_source
from camnorm.measurement.screening import Range, Rules
from camnorm.measurement.settings import Settings
from camnorm.measurement.source import Inputs, find_source
from camnorm.progress import Progress
from camnorm.sensor.sensor import Sensor

__all__ = ["measure"]


def measure(
    inputs: Inputs | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    screen: str | float = "auto",
    mean_limits: Range | None = None,
    std_limits: Range | None = None,
    response: bool = False,
    neighbours: bool = False,
    frames_list: str | os.PathLike[str] | None = None,
    frames: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    options: ReadOptions | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Sensor:
    """Measure a sensor from the images that it took: moments of both halves, frame table, screening.

    Files go to half A and half B whole, since the frames of one movie share a specimen; a single file is
    split by frames. In the natural order of their paths, of every two consecutive files one goes to A and one
    to B; a fixed pseudo-random sequence decides which, so that kinds of files that alternate are in both
    halves. The halves do not depend on the order in which files are given. Files of which no frame is
    selected take no part in this. Every frame is read once.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Files, directories, globs, ``@list.txt``, a STAR file of movies or an mdoc file. May be left out if
        there is a `frames_list`.
    output : path-like, optional
        Sensor file to write. While the measurement runs, a checkpoint is kept beside it, from which the
        same call goes on after the process was killed. An existing sensor file is replaced if it holds the
        same measurement: of the same files, with the same options.
    screen : {"auto", "off"} or float
        Frames that are blank or saturated, whose mean or standard deviation lies outside median ± k·MAD
        over the set, or that are copies of others, are taken out again, exactly, by reading just these once
        more. "auto" is k = 6, or off if there is a `frames_list`; a number is another k.
    mean_limits, std_limits : tuple of two floats or None, optional
        Lowest and highest mean (standard deviation) over the pixels of frames that are used, whatever
        `screen` says; None for an open end.
    response : bool
        Keep also how every pixel follows the exposures of the frames, for ``correction(mode="response")``.
    neighbours : bool
        Keep also sums over the differences between neighbours, which show pixels that were interpolated or
        copied from them; see `NeighbourSums`.
    frames_list : path-like, optional
        CSV file as ``camnorm.sensor.framelist.write_frame_list`` writes it: just the frames that it says are
        accepted are measured, in the halves that it says.
    frames : str, optional
        START:STOP or START:STOP:STEP, a slice of the frames of every file as in Python: ``"3:20"``,
        ``"1:"``, ``":-2"``, ``"::4"``. By default all.
    every : int
        Take every N-th of these frames, from the first on and counted through all files in their
        order: of files with one frame, every N-th file.
    max_frames : int, optional
        Take at most this many of these, chosen at random and spread over the files: as many of each as of
        any other, as far as they go. The choice is the same for the same files in the same order.
    options : ReadOptions, optional
        How the files are read, where they do not say so themselves.
    overwrite : bool
        Whether `output` may replace another measurement.
    strict : bool
        Stop at the first frame that cannot be used, instead of listing it and going on.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called now and then with an object that has ``stage`` (what is being done), ``done`` of ``total``
        files or frames, and ``frames``, ``bytes`` and ``rejected`` so far.

    Returns
    -------
    Sensor

    Raises
    ------
    Error
        If there is nothing to measure: no such file, no image among the inputs, no frame that can be
        used; if the list of frames does not fit; if `output` holds another measurement, is an input, or is
        being written by another process. Subclass FormatError with `strict`, and if `output` is a file of
        another kind.
    ValueError
        If an option is invalid, or options contradict each other.
    OSError
        If `output` cannot be written.

    See Also
    --------
    camnorm.screening.findings : warnings about the data set.
    measure_groups : for sets that are not of one kind.

    Notes
    -----
    Memory: the moments of two halves (32 bytes a pixel for integer frames, 64 for float frames; half as
    much again for the response, and four and a half times as much again for the neighbours), up to two
    frames a thread or 128 MB, whichever is more (some MB a thread for files that hold plain pixels); it does
    not grow with the number of frames, but for about 100 bytes a frame in the table. The result does not
    depend on `threads`, nor on where a run was interrupted.

    Examples
    --------
    >>> import camnorm
    >>> sensor = camnorm.measure("movies", "sensor.h5")
    >>> sensor
    <Sensor measured from 64 uint16 frames of shape (64, 64)>
    >>> [half.count for half in sensor.halves]
    [32, 32]
    >>> sensor.mean.shape, sensor.sigma.dtype.name
    ((64, 64), 'float64')
    >>> int((sensor.frames["status"] == "rejected").sum())
    0
    """
    settings = Settings(
        Rules.of(screen, mean_limits, std_limits, listed=frames_list is not None),
        response,
        neighbours,
        options or ReadOptions(),
        usable_threads(threads),
        strict,
        progress,
    )
    source, settings = find_source(inputs, frames_list, Selection(frames, every, max_frames), settings)
    if output is None:
        return measure_source(source, settings, None)
    if Path(output).is_dir():
        raise Error(f"{output}: is a directory; name the sensor file to write")
    with Checkpoint(Output(Path(output), overwrite, source.protected)) as checkpoint:
        sensor = measure_source(source, settings, checkpoint)
        checkpoint.finish(sensor)
    return sensor
