"""How many good pixels `classify_pixels` takes for bad ones, and which planted ones it finds.

The sums of all frames are drawn from their distributions, so that large sensors take seconds:

    python bench/pixels.py --seeds 20
"""

import argparse
import time

import numpy as np

import camnorm
from camnorm.sensor.table import FRAME_DTYPE


class Half:
    """Rows of a mean and a sigma image, in the place of moments."""

    def __init__(self, mean, sigma):
        self.mean, self.sigma = mean, sigma

    def rows(self, first, last):
        return Half(self.mean[first:last], self.sigma[first:last])

    def mean_with(self, other):
        return self.mean

    def std_with(self, other):
        return self.sigma


class Drawn(camnorm.Sensor):
    """A sensor of which mean and sigma of every pixel are drawn."""

    count = shape = dtype = neighbours = row_order = None

    def __init__(self, mean, sigma, count, dtype):
        self.halves = Half(mean, sigma), Half(mean, sigma)
        self.frames = np.empty(0, FRAME_DTYPE)
        self.shape, self.count, self.dtype = mean.shape, count, np.dtype(dtype)


def integrating(mean, sigma, frames, rng):
    """Mean and sigma of normal values."""
    drawn = mean + sigma * rng.standard_normal(mean.shape) / np.sqrt(frames)
    return drawn, sigma * np.sqrt(rng.chisquare(frames - 1, mean.shape) / frames)


def counting(light, frames, rng):
    """Mean and sigma of Poisson counts; pairs of counts in one frame are drawn as if they were rare."""
    total = rng.poisson(light * frames)
    pairs = rng.poisson(total * np.maximum(total - 1, 0) / (2 * frames))
    mean = total / frames
    return mean, np.sqrt(np.maximum((total + 2 * pairs) / frames - mean**2, 0))


def sensor(kind, side, rng, plant=()):
    """A sensor of a kind, with planted pixels: mean and sigma are multiplied by factors."""
    y, x = np.ogrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = (1 - 0.15 * (x**2 + y**2)) * (1 + 0.02 * rng.standard_normal((side, side)))
    level, frames = {"16 bit, 200": (2000, 200), "16 bit, 30": (2000, 30), "counts, 1000": (0.3, 1000)}[kind]
    where = rng.permutation(side * side)[: 1000 * len(plant)].reshape(len(plant), 1000)
    mean, sigma = level * light, 20 * np.sqrt(light)
    for pixels, (gain, noise) in zip(where, plant, strict=True):
        mean.flat[pixels] *= gain
        sigma.flat[pixels] *= noise
    if kind.startswith("counts"):
        drawn, dtype = counting(mean, frames, rng), np.uint8
    else:
        drawn, dtype = integrating(mean, sigma, frames, rng), np.uint16
    return Drawn(*drawn, frames, dtype), where


PLANTED = {
    "16 bit, 200": {"hot": (1.3, 1), "cold": (0.7, 1), "noisy": (1, 2), "low_sigma 0.5": (1, 0.5),
                    "low_sigma 0.65": (1, 0.65), "low_sigma 0.71": (1, 0.71), "dead": (0.05, 0.01)},
    "counts, 1000": {"hot": (2, 1), "cold": (0.3, 1), "dead": (0, 1)},
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--side", type=int, default=4096)
    options = parser.parse_args()
    for kind, side in (
        ("16 bit, 200", options.side),
        ("16 bit, 30", options.side),
        ("counts, 1000", options.side // 2),
    ):
        flagged, seconds = [], []
        for seed in range(options.seeds):
            drawn, _ = sensor(kind, side, np.random.default_rng(seed))
            start = time.process_time()
            flagged.append(camnorm.classify_pixels(drawn).flagged)
            seconds.append(time.process_time() - start)
        print(
            f"{kind} frames, {side} x {side}: {np.mean(flagged):.2f} flagged (most {max(flagged)}), "
            f"{np.median(seconds):.2f} s of CPU",
            flush=True,
        )
    for kind, plant in PLANTED.items():
        side = options.side // (2 if kind.startswith("counts") else 1)
        drawn, where = sensor(kind, side, np.random.default_rng(100), list(plant.values()))
        found = camnorm.classify_pixels(drawn)
        print(f"{kind} frames, planted: {found.flagged} flagged of {where.size}")
        for name, pixels in zip(plant, where, strict=True):
            print(f"  {name}: {found.bad.flat[pixels].mean():.1%}")


if __name__ == "__main__":
    main()
