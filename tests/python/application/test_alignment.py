"""What the paper warns of: a fixed pattern makes drifting movies align to no shift at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import camnorm
from image_sets import write_mrc

SIZE = 256
FRAMES = 12
DRIFT = (1, -2)  # pixels a frame: rows, columns


def landscape(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A scene whose amplitude falls with the frequency, as that of ice with particles."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    amplitude = np.exp(-((fy**2 + fx**2) / 0.1**2) / 2)
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * amplitude, shape)
    return 1 + 0.08 * field / field.std()


def movie(rng: np.random.Generator, gain: np.ndarray, drift: tuple[int, int]) -> np.ndarray:
    """Counts of a scene that moves under a camera."""
    margin = FRAMES * max(map(abs, drift)) + 1
    scene = landscape(rng, (SIZE + 2 * margin, SIZE + 2 * margin))
    windows = (scene[margin + i * drift[0] :, margin + i * drift[1] :][:SIZE, :SIZE] for i in range(FRAMES))
    return np.array([rng.poisson(60 * window * gain) for window in windows]).astype(np.uint16)


def shift_between(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Where the cross-correlation of two images peaks."""
    taper = np.hanning(SIZE)[:, None] * np.hanning(SIZE)
    fa, fb = (np.fft.fft2((image - image.mean()) * taper) for image in (a, b))
    correlation = np.fft.ifft2(fa * fb.conj()).real
    y, x = np.unravel_index(correlation.argmax(), correlation.shape)
    return int((y + SIZE // 2) % SIZE - SIZE // 2), int((x + SIZE // 2) % SIZE - SIZE // 2)


def test_drifting_movies_align_after_the_correction(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    gain = rng.normal(1, 0.1, (SIZE, SIZE)) * rng.normal(1, 0.03, SIZE)
    (tmp_path / "in").mkdir()
    for i in range(60):
        drift = (int(rng.integers(-2, 3)), int(rng.integers(-2, 3)))
        write_mrc(tmp_path / "in" / f"{i:02d}.mrc", movie(rng, gain, drift))
    raw = movie(rng, gain, DRIFT)
    write_mrc(tmp_path / "drift.mrc", raw)

    sensor = camnorm.measure(tmp_path / "in")
    (path,) = camnorm.correct(tmp_path / "drift.mrc", sensor, tmp_path / "out")
    with camnorm.open_frames(path) as source:
        corrected = source.read(0, FRAMES)

    for i, j in ((0, 3), (2, 7), (1, 11)):
        true = ((j - i) * DRIFT[0], (j - i) * DRIFT[1])
        assert shift_between(raw[i], raw[j]) == (0, 0)
        assert shift_between(corrected[i], corrected[j]) == true
