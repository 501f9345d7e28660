"""Files for another program are written and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.correction.adjustments import Adjustments
from camnorm.errors import Error
from camnorm.handover.calibration import Images, calibrate, errors_of, images_of
from camnorm.handover.files import read_back, save
from camnorm.handover.movies import movies_for
from camnorm.handover.program import Calibration, Export, Program
from camnorm.handover.programs import PROGRAMS
from camnorm.handover.readme import approximation_of, readme_text
from camnorm.io import Protected, sync_directory
from camnorm.sensor.balance import harm_of, warn_of_harm
from camnorm.sensor.sensor import as_sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["export"]

_README, _ERROR = "README.txt", "error.mrc"

# Rounding of gain, dark and result to float32, in units of the largest of the products.
_ROUNDING = 8 * float(np.finfo(np.float32).eps)


def export(
    sensor: Sensor | str | os.PathLike[str],
    program: str,
    like: str | os.PathLike[str] | None = None,
    pixels: Any = None,
    *,
    out_dir: str | os.PathLike[str],
    overwrite: bool = False,
) -> Export:
    """Write gain, dark and defects of a sensor for another program, and how that uses them.

    Parameters
    ----------
    sensor : Sensor or path-like
        The measured set.
    program : str
        "relion", "motioncor", "aretomo", "cryosparc", "cistem", "warp", "imod", "serialem", "nexus" or
        "numpy".
    like : path-like, optional
        A movie that the program is to read: it decides the order of rows, the size and what an EER gain
        holds. By default movies like those that the sensor was measured from.
    pixels : PixelMap, ndarray or path-like, optional
        Bad pixels: a map of `classify_pixels`, a file of one, or an array (y, x) that is not 0 where a pixel
        is bad, with rows in the order of the sensor. Pixels that never change are bad in any case. Targets
        are those of the other pixels, as with `correct`.
    out_dir : path-like
        Directory to write to; made if it is not there.
    overwrite : bool
        Replace files that are there.

    Returns
    -------
    Export
        What was written, the command that uses it, and how exact it is.

    Raises
    ------
    Error
        The sensor is one of colour frames, or nothing varies in it; the movie has another shape, or a format
        that the program gets no gain for; a file exists already; or the files that were written do not give
        what `correct` does, and were removed.
    FormatError, OSError
        A file cannot be read or written.
    ValueError
        There is no such program.

    Notes
    -----
    Of programs that subtract a dark, gain = s0/sigma and dark = mean - I0·sigma/s0 make (I - dark)·gain the
    same as Eq. (2). Others get gain = I0/mean. The gain is 0 at bad pixels. Once written, the files are read
    back, the arithmetic of the program is applied to a frame, and the result is compared with `Correction`.

    Examples
    --------
    >>> import camnorm
    >>> made = camnorm.export("sensor.h5", "numpy", out_dir="for-numpy")
    >>> sorted(path.name for path in made.files)
    ['README.txt', 'dark.npy', 'defects.npy', 'defects.txt', 'error.mrc', 'gain.npy']
    """
    if program not in PROGRAMS:
        raise ValueError(f"program must be {', '.join(PROGRAMS)}, not {program!r}")
    target = PROGRAMS[program]
    protected = Protected([path for path in (sensor, like, pixels) if isinstance(path, (str, os.PathLike))])
    sensor = as_sensor(sensor, load=True)
    for used in (sensor.options.gain, sensor.options.defects):
        if used is not None:
            protected.add(used)
    movies = movies_for(sensor, like, target)
    images = images_of(sensor, movies, pixels)
    with_dark = target.takes_dark and movies.format != "EER"
    calibration = calibrate(sensor, images, movies, like, with_dark)
    warn_of_harm(harm_of(sensor, Adjustments("both" if calibration.exact else "gain")))
    in_program = calibration.upside_down() if target.flips(movies) else calibration
    folder = Path(out_dir)
    contents = {**target.files(in_program), _ERROR: in_program.error}
    spread = _spread(sensor, images, calibration)
    approximation = approximation_of(calibration, spread)
    gain_error = float(np.sqrt(np.mean(np.square(calibration.error[~calibration.bad]))))
    notes = _notes(sensor, calibration)
    contents[_README] = readme_text(
        target, calibration, folder.absolute(), [*contents, _README], approximation, gain_error, notes
    )
    paths = {name: folder / name for name in contents}
    for path in paths.values():
        protected.check(path)
        if not overwrite and os.path.lexists(path):
            raise Error(f"{path}: already exists; use overwrite=True to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        for name, content in contents.items():
            save(paths[name], content, overwrite, protected)
            written.append(paths[name])
        read = {name: read_back(path) for name, path in paths.items()}
        deviation = _check(target, read, sensor, images, calibration, in_program)
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
    sync_directory(folder)
    return Export(
        program=program,
        files=tuple(paths.values()),
        command="\n".join(target.usage(in_program, folder.absolute())),
        exact=calibration.exact,
        approximation=approximation,
        spread=spread,
        gain_error=gain_error,
        bad_pixels=int(calibration.bad.sum()),
        deviation=deviation,
        notes=(*target.remarks(calibration), *calibration.notes, *notes),
    )


def _notes(sensor: Sensor, calibration: Calibration) -> list[str]:
    notes = []
    if sensor.options.gain is not None:
        notes.append(
            f"The sensor was measured with the gain reference {sensor.options.gain}: this gain takes its "
            "place, do not apply both."
        )
    if calibration.movies.format == "EER":
        notes.append("Of EER movies there is a gain only: their frames are counts, without a dark.")
    return notes


def _spread(sensor: Sensor, images: Images, calibration: Calibration) -> float:
    """Standard deviation over the pixels of sigma after the correction, as a fraction of s0."""
    if calibration.exact:
        return 0.0
    if calibration.gain.shape != images.mean.shape:
        return float("nan")
    good = ~calibration.bad
    relative = images.sigma[good] / images.mean[good]
    level, spread = float(sensor.target_mean), float(sensor.target_sigma)
    error_of_mean, error_of_sigma = errors_of(sensor)
    by_chance = error_of_sigma**2 + error_of_mean**2 * float(np.mean(relative**2))
    return math.sqrt(max(float(np.var(relative)) * (level / spread) ** 2 - by_chance, 0.0))


def _check(
    program: Program,
    files: Mapping[str, Any],
    sensor: Sensor,
    images: Images,
    calibration: Calibration,
    in_program: Calibration,
) -> float:
    """Apply what the program does to a frame as its movies have it; largest deviation, as a fraction."""
    frame = _frame_like(sensor, images, calibration)
    expected = _corrected(frame, sensor, images, calibration)
    flip = program.flips(calibration.movies)
    result = program.applied(frame[::-1].copy() if flip else frame, files, in_program)
    result = result[::-1] if flip else result
    good = ~calibration.bad
    unconcealed = np.isfinite(result) & ~good & (result != 0)
    if unconcealed.any() or not np.isfinite(result[good]).all():
        raise Error(f"the defects written for {program.title} are not the bad pixels of the sensor")
    result, expected = result[good], expected[good]
    if program.rescales(calibration):
        result = result * (np.vdot(result, expected) / np.vdot(result, result))
    scale = np.abs(frame[good] * calibration.gain[good]) + np.abs(expected) + abs(calibration.level)
    if calibration.dark is not None:
        scale += np.abs(calibration.dark[good] * calibration.gain[good])
    deviation = float((np.abs(result - expected) / scale).max(initial=0.0))
    if not deviation <= _ROUNDING:
        raise Error(
            f"the files written for {program.title} give other frames than camnorm, by {deviation:.2g} of "
            "their values: they were removed"
        )
    return deviation


def _frame_like(sensor: Sensor, images: Images, calibration: Calibration) -> NDArray[np.float64]:
    """A raw frame as the movies have them, with noise; in their order of rows."""
    noise = np.random.default_rng(1).standard_normal(calibration.gain.shape)
    if calibration.gain.shape == images.mean.shape:
        factors = np.where(images.factors > 0, images.factors, 1.0)
        return np.asarray((images.mean + images.sigma * noise) / factors)
    level = calibration.level
    return np.asarray(level + noise * abs(level) / 4)


def _corrected(
    frame: NDArray[np.float64], sensor: Sensor, images: Images, calibration: Calibration
) -> NDArray[np.float64]:
    """What `correct` makes of it, or the approximation that is stated."""
    if calibration.gain.shape != images.mean.shape:
        return np.asarray(frame * calibration.gain)
    correction = sensor.correction(mode="both" if calibration.exact else "gain", pixels=images.pixels)
    seen = np.ascontiguousarray(images.turned(frame * images.factors))
    return images.turned(correction.apply(seen, dtype=np.float64))
