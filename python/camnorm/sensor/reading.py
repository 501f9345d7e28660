"""How frames must be read to be those of a sensor."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace

from camnorm.errors import Error
from camnorm.io.base.options import ReadOptions

__all__ = ["for_sensor", "warn_of_gain"]

# Frames that differ in these are not of one kind.
_FIXED = ("eer_grouping", "eer_sampling", "mrc_mode0", "tiff_4bit")
# Where the images lie in their files.
_PLACES = ("raw", "dataset", "follow_links", "frames_dir")
_GAIN_USE = ("gain_rotate", "gain_flip", "gain_operation")


def for_sensor(sensor: ReadOptions, given: ReadOptions | None) -> ReadOptions:
    """Read options for frames that a sensor is used on.

    Parameters
    ----------
    sensor : ReadOptions
        By which the sensor was measured.
    given : ReadOptions, optional
        What the user wants otherwise. What is not given is as the sensor has it; but by ``ReadOptions()``,
        images are looked for where their files tell.

    Returns
    -------
    ReadOptions

    Raises
    ------
    Error
        Frames that are read as given are of another kind than those of the sensor.
    """
    if given is None:
        return sensor
    if given == ReadOptions():
        return replace(sensor, **{name: getattr(given, name) for name in _PLACES})
    if given.gain_is_to_be_turned:
        raise Error(
            "which way the gain lies is known from the measurement; leave out gain_rotate='auto' and "
            "gain_flip='auto'"
        )
    of_sensor, of_user = sensor.open_names, given.open_names
    for name in _FIXED:
        mine, its = getattr(given, name), getattr(sensor, name)
        if name not in of_user | of_sensor and mine != its:
            raise Error(
                f"{name}={mine} does not go with the sensor, which was measured with {name}={its}; "
                "leave the option out, or measure the sensor again"
            )
    names = {option.name for option in fields(ReadOptions)} - of_user
    return replace(sensor, **{name: getattr(given, name) for name in names})


def warn_of_gain(sensor: ReadOptions, used: ReadOptions) -> None:
    """Warn if a gain is applied to frames otherwise than to those of a sensor.

    Parameters
    ----------
    sensor : ReadOptions
        By which the sensor was measured.
    used : ReadOptions
        By which the frames are read.
    """
    if sensor.gain is None and used.gain is not None:
        warnings.warn(
            "the sensor was measured without a gain, and these frames are read with one: this is right only "
            "if the gain had been applied to the movies of the sensor",
            stacklevel=3,
        )
    for name in _GAIN_USE if sensor.gain is not None else ():
        mine, its = getattr(used, name) or 0, getattr(sensor, name) or 0
        if mine != its:
            warnings.warn(
                f"the sensor was measured with {name}={its}, and these frames are read with {name}={mine}: "
                "this is right only if the gain is another file, turned or scaled otherwise",
                stacklevel=3,
            )
