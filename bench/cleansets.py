"""Simulated data sets without faults, and what is planted in others; `findings.py` counts what is flagged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLEAN", "COURSES", "LEVELS", "memory", "noisy"]

Array = npt.NDArray[Any]
Rng = np.random.Generator
Make = Callable[[Rng], list[Array]]


def _pattern(rng: Rng, shape: tuple[int, ...], spread: float = 0.03) -> Array:
    """Gains of the pixels."""
    return rng.normal(1, spread, shape)


def noisy(rng: Rng, levels: Array, shape: tuple[int, ...], noise: float = 12.0) -> Array:
    """Frames of these levels by a camera with gains, an offset and normal noise."""
    light = levels.reshape(-1, *(1 for _ in shape)) * _pattern(rng, shape)
    return (100 + light + rng.normal(0, noise, light.shape)).clip(0, 65535).round().astype(np.uint16)


def memory(rng: Rng, count: int, rho: float = 0.8) -> Array:
    """Normal deviates that are correlated with their neighbours by `rho`."""
    from scipy.signal import lfilter

    return np.asarray(
        lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=count + 100))[100:], np.float64
    )


def _counting(rng: Rng, doses: Array, shape: tuple[int, ...]) -> Array:
    light = doses.reshape(-1, *(1 for _ in shape)) * _pattern(rng, shape)
    return rng.poisson(light).clip(0, 255).astype(np.uint8)


def _single(frames: Array) -> list[Array]:
    return list(frames[:, None])


def _integrating(count: int, shape: tuple[int, ...]) -> Make:
    return lambda rng: [noisy(rng, rng.normal(1000, 20, count), shape)]


def _few_exact(rng: Rng) -> list[Array]:
    """All frames have the same light."""
    return [noisy(rng, np.full(8, 8000.0), (192, 192))]


def _low_dose(rng: Rng) -> list[Array]:
    return [_counting(rng, np.full(100, 0.5), (64, 64))]


def _lowest_dose(rng: Rng) -> list[Array]:
    return [_counting(rng, np.full(60, 0.02), (128, 128))]


def _counting_few(rng: Rng) -> list[Array]:
    return [_counting(rng, np.full(6, 1.0), (96, 128))]


def _counting_movies(rng: Rng) -> list[Array]:
    """Each movie has a specimen and a thickness of its own."""
    levels = np.exp(rng.normal(0, 0.2, 30))
    return [_counting(rng, np.full(8, level), (64, 64)) for level in levels]


def _varying_dose(rng: Rng) -> list[Array]:
    return _single(_counting(rng, rng.gamma(9, 3 / 9, 80), (64, 64)))


def _log_normal(rng: Rng) -> list[Array]:
    return _single(noisy(rng, 1000 * np.exp(rng.normal(0, 0.3, 80)), (64, 64)))


def _long_memory(rng: Rng) -> list[Array]:
    return _single(noisy(rng, 1000 + 20 * memory(rng, 120), (48, 64)))


def _few_long_movies(rng: Rng) -> list[Array]:
    levels = rng.normal(1000, 30, 6)
    return [noisy(rng, rng.normal(level, 1, 20), (48, 64)) for level in levels]


def _float(rng: Rng) -> list[Array]:
    return [rng.normal(0, 1, (100, 64, 64)).astype(np.float32) + rng.normal(0, 0.1, (64, 64)).astype("f4")]


def _colour(rng: Rng) -> list[Array]:
    light = rng.normal(1, 0.02, (50, 1, 1, 1)) * np.array([90, 140, 70]) * _pattern(rng, (64, 64, 3))
    return _single(rng.normal(light, 5).clip(0, 255).round().astype(np.uint8))


def _field(rng: Rng, shape: tuple[int, int], slope: float = 1.5) -> Array:
    """A scene whose amplitude falls with frequency."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    spectrum = np.fft.rfft2(rng.normal(size=shape)) / (frequency + 0.02) ** slope
    field = np.fft.irfft2(spectrum, shape)
    return np.asarray((field - field.mean()) / field.std(), np.float64)


def _scenes(rng: Rng) -> list[Array]:
    """Frames of different landscapes."""
    gains = _pattern(rng, (96, 96))
    light = np.array([1000 * np.exp(0.3 * _field(rng, (96, 96))) for _ in range(60)])
    return _single(rng.normal(light * gains, 20).clip(0, 65535).astype(np.uint16))


def discs(rng: Rng, shape: tuple[int, int], count: int, radius: float) -> Array:
    """True inside of discs at random places."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for _ in range(count):
        size = radius * rng.uniform(0.8, 1.2)
        inside |= np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])) < size
    return inside


def _gold(rng: Rng) -> list[Array]:
    """Each movie has gold beads at other places, the sensor dust that stays."""
    gains = _pattern(rng, (96, 96)) * np.where(discs(rng, (96, 96), 5, 4), 0.7, 1.0)
    movies = []
    for _ in range(30):
        light = 1000 * gains * np.where(discs(rng, (96, 96), 6, 4), 0.4, 1.0)
        movies.append(rng.normal(light, 30, (4, 96, 96)).clip(0, 65535).astype(np.uint16))
    return movies


def _hot_and_noisy(rng: Rng) -> list[Array]:
    """One pixel in a hundred is noisy, one in a thousand hot, some blink."""
    shape = (96, 96)
    noise = np.where(rng.random(shape) < 0.01, rng.uniform(50, 1000, shape), 10.0)
    offset = np.where(rng.random(shape) < 0.001, 20000.0, 100.0)
    blinking = rng.random(shape) < 0.001
    frames = (
        offset + rng.normal(1000, 20, (60, 1, 1)) * _pattern(rng, shape) + rng.normal(0, noise, (60, *shape))
    )
    frames += blinking * (rng.random((60, *shape)) < 0.4) * 500
    return [frames.clip(0, 65535).astype(np.uint16)]


def _many_frames(rng: Rng) -> list[Array]:
    return [noisy(rng, rng.normal(1000, 10, 500), (48, 48))]


CLEAN: dict[str, Make] = {
    "integrating, 1 file of 6": _integrating(6, (96, 128)),
    "integrating, 1 file of 8, even light": _few_exact,
    "integrating, 1 file of 12": _integrating(12, (96, 128)),
    "integrating, 1 file of 30": _integrating(30, (96, 128)),
    "integrating, 1 file of 100": _integrating(100, (64, 64)),
    "integrating, 1 file of 500": _many_frames,
    "counting 0.5 a pixel, 1 file of 100": _low_dose,
    "counting 0.02 a pixel, 1 file of 60": _lowest_dose,
    "counting 1 a pixel, 1 file of 6": _counting_few,
    "counting, 30 movies of 8": _counting_movies,
    "counting, 80 files, doses vary by a third": _varying_dose,
    "80 files, log-normal levels": _log_normal,
    "120 files, levels of long memory": _long_memory,
    "6 movies of 20, levels differ": _few_long_movies,
    "float32, 1 file of 100": _float,
    "colour, 50 files": _colour,
    "landscapes, 60 files": _scenes,
    "gold beads and dust, 30 movies of 4": _gold,
    "hot, noisy and blinking pixels, 1 file of 60": _hot_and_noisy,
}
"""Sets without faults, each a list of files with their frames."""

COURSES: dict[str, Callable[[Array], Array]] = {
    "line": lambda t: t,
    "exponential": lambda t: (1 - np.exp(-3 * t)) / (1 - np.exp(-3)),
    "saturating": lambda t: 1 - np.exp(-8 * t),
    "root": np.sqrt,
    "ramp over the second half": lambda t: np.maximum(2 * t - 1, 0),
    "step": lambda t: (t >= 0.4).astype(float),
    "sine": lambda t: (1 + np.sin(2 * np.pi * t)) / 2,
}
"""Courses of the frames' means over time from 0 to 1, with a range of 1."""


def _white(rng: Rng, count: int) -> Array:
    return rng.normal(size=count)


def _blocked(rng: Rng, count: int) -> Array:
    """Levels of movies of 8 frames."""
    return np.repeat(rng.normal(size=-(-count // 8)), 8)[:count]


def _remembering(rng: Rng, count: int) -> Array:
    return memory(rng, count)


LEVELS: dict[str, tuple[Callable[[Rng, int], Array], int]] = {
    "white": (_white, 1),
    "blocked": (_blocked, 8),
    "long memory": (_remembering, 1),
}
"""Noise of the frames' levels with a standard deviation of 1, and the number of frames in a file."""
