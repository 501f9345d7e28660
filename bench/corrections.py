"""The error that each mode of correction leaves, on simulated sensors whose truth is known.

    python bench/corrections.py [--quick] [--seeds N] [--sets N] [--json FILE]

The sums of both halves are drawn at once, so that sets of 10,000 frames take no longer than those of ten.
Tables: the error over dose and number of frames, how often mode "best" is worse than others among sensors
with other patterns, and predicted errors over the true ones. An error is the root mean square over normal
pixels of what an affine fit to the scene leaves of a corrected scene, in percent of the light.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import Correction, Error, PixelMoments, Sensor
from camnorm.sensor.prediction import predicted_errors

Image = npt.NDArray[np.float64]

SIDE = 256
MODES: dict[str, dict[str, Any]] = {
    "both": {},
    "gain": {"mode": "gain"},
    "mean": {"mode": "mean"},
    "shrink": {"shrink": True},
    "gain, shrink": {"mode": "gain", "shrink": True},
    "best": {"mode": "best"},
}
DOSES = (0.1, 0.3, 1.0, 3.0, 10.0)
FRAMES = (10, 30, 100, 300, 1000, 3000, 10000)


@dataclass
class Truth:
    """A sensor: gain of every pixel, counts in the dark as a fraction of the light, and the defects."""

    gain: Image
    dark: Image
    defects: npt.NDArray[np.bool_]


def field(rng: np.random.Generator, shape: tuple[int, int], blur: float = 0.25) -> Image:
    """A scene with the 1/f spectrum of natural ones; mean 0, standard deviation 1."""
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal(shape)) / frequency * np.exp(-((frequency / blur) ** 2))
    image = np.fft.ifft2(spectrum).real
    return np.asarray((image - image.mean()) / image.std())


def sensor_truth(rng: np.random.Generator, kind: str, pixels: float, shape: tuple[int, int]) -> Truth:
    """A sensor of the usual pattern, of none, or of one of the other kinds."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    gain = 1 + pixels * rng.standard_normal(shape)
    dust, defects = 12, 26
    if kind == "none":
        return Truth(np.ones(shape), np.zeros(shape), np.zeros(shape, bool))
    if kind == "usual":
        gain *= 1 + 0.01 * rng.standard_normal((1, width))
        gain *= 1 + 0.005 * rng.standard_normal((height, 1))
        steps = rng.standard_normal((2, 8))
        gain *= 1 + 0.005 * np.kron(steps, np.ones((-(-height // 2), -(-width // 8))))[:height, :width]
    elif kind == "stripes":
        gain *= 1 + 0.02 * np.sign(np.sin(2 * np.pi * (x + 0.3 * y) / rng.uniform(3, 40)))
    elif kind == "moire":
        a, b = rng.uniform(0.05, 0.45, 2)
        gain *= 1 + 0.02 * np.sin(2 * np.pi * a * x) * np.sin(2 * np.pi * b * y)
    elif kind == "dust":
        dust, defects = 60, 120
    elif kind == "gradient":
        gain *= 1 + 0.1 * (x / width - 0.5) - 0.2 * ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2)
    elif kind == "smooth":
        gain *= 1 + 0.02 * field(rng, shape, 0.05)
    elif kind == "blocks":  # readout blocks that are no powers of two wide
        edges = np.sort(rng.integers(0, width, 7))
        gain *= 1 + 0.02 * rng.standard_normal(8)[np.searchsorted(edges, x, side="right")]
    elif kind == "weak":
        dust, defects = 2, 3
    for _ in range(dust):
        radius, at_y, at_x = rng.uniform(2, 9), rng.uniform(0, height), rng.uniform(0, width)
        gain *= 1 - 0.1 / (1 + np.exp((np.hypot(y - at_y, x - at_x) - radius) / 0.7))
    gain /= gain.mean()
    dark, bad = np.zeros(shape), np.zeros(shape, bool)
    places = rng.permutation(gain.size)[:defects]
    bad.flat[places] = True
    gain.flat[places[: defects // 2]] = 0
    dark.flat[places[defects // 2 :]] = rng.uniform(1, 6, defects - defects // 2)
    return Truth(gain, dark, bad)


def moments_of(total: Image, squares: Image, frames: int) -> PixelMoments:
    """Moments of integer frames with about these sums."""
    sums = np.rint(total).astype(np.int64)
    least = np.maximum(np.rint(squares), -(-(sums**2) // frames)).astype(np.int64)
    least = np.maximum(least, np.abs(sums))
    least += (least - sums) % 2  # a number and its square are both odd, or both even
    state = {"shape": total.shape, "dtype": "uint16", "count": frames, "sum": sums}
    return PixelMoments.from_state({**state, "sum_of_squares": least.astype(np.uint64)})


def counting(rng: np.random.Generator, mean: Image, frames: int) -> PixelMoments:
    """Half of a set of a counting camera."""
    if frames <= 60:
        counts = rng.poisson(mean, (frames, *mean.shape))
        return moments_of(counts.sum(0), np.square(counts).sum(0), frames)
    total = rng.poisson(frames * mean).astype(np.float64)
    pairs = total * (total - 1) / 2 / frames  # of counts in one frame: nearly Poisson distributed
    many = np.rint(rng.normal(pairs, np.sqrt(np.maximum(pairs, 0) * (1 - 1 / frames))))
    drawn = np.where(pairs > 50, many, rng.poisson(np.clip(pairs, 0, 60)))
    return moments_of(total, total + 2 * np.maximum(drawn, 0), frames)


def integrating(
    rng: np.random.Generator, mean: Image, sigma: Image, frames: int, blur: float = 0.0
) -> PixelMoments:
    """Half of a set of an integrating camera, whose point spread may correlate the noise of neighbours."""
    noise = rng.standard_normal(mean.shape)
    if blur:
        from scipy.ndimage import gaussian_filter

        noise = gaussian_filter(noise, blur, mode="wrap")
        sigma = sigma * noise.std()
        noise /= noise.std()
    measured = mean + sigma / np.sqrt(frames) * noise
    squares = sigma**2 * rng.chisquare(frames - 1, mean.shape) + frames * measured**2
    return moments_of(measured * frames, squares, frames)


def error_of(image: Image, scene: Image, normal: npt.NDArray[np.bool_]) -> float:
    """What an affine fit of the scene leaves of an image, in percent of the light; NaN without contrast."""
    t, y = scene[normal] - scene[normal].mean(), image[normal] - image[normal].mean()
    slope = float(np.vdot(t, y) / np.vdot(t, t))
    if slope <= 1e-6 * abs(float(image[normal].mean())):
        return float("nan")
    return 100 * float(np.sqrt(np.mean((y / slope - t) ** 2)))


def errors_of_set(case: dict[str, Any], seed: int, side: int) -> dict[str, float]:
    """True and predicted errors in one simulated set."""
    rng = np.random.default_rng([seed, *map(ord, case["kind"]), int(1e4 * case["pixels"]), case["frames"]])
    shape = case.get("shape", (side, side))
    truth = sensor_truth(rng, case["kind"], case["pixels"], shape)
    scene = np.clip(1 + 0.2 * field(rng, shape), 0.3, 1.7)
    scene /= scene.mean()
    dose, frames, offset = case["dose"], case["frames"], case.get("offset")
    mean, expected = dose * (truth.gain + truth.dark), dose * (truth.gain * scene + truth.dark)
    if offset is None:
        halves = [counting(rng, mean, frames // 2) for _ in "AB"]
    else:
        of_pixels = offset * rng.standard_normal(shape)
        mean, expected = mean + of_pixels, expected + of_pixels
        sigma = np.sqrt(dose * truth.gain**2 + 25 + dose * truth.dark)
        halves = [integrating(rng, mean, sigma, frames // 2, case.get("blur", 0.0)) for _ in "AB"]
    sensor = Sensor.from_moments(halves[0], halves[1])
    normal = ~truth.defects
    found = {"raw": error_of(expected, scene, normal)}
    for name, options in MODES.items():
        try:
            correction: Correction = sensor.correction(**options)
        except Error:
            continue
        found[name] = error_of(correction.apply(expected, dtype=np.float64), scene, normal)
    prediction = predicted_errors(sensor)
    if prediction is not None:
        found |= {f"predicted {name}": error for name, error in prediction.errors.items()}
        found["camera"] = float(prediction.camera == "counting")
    return found


def grid(quick: bool) -> Iterator[dict[str, Any]]:
    doses, numbers = (DOSES[2:3], FRAMES[2:5:2]) if quick else (DOSES, FRAMES)
    for pixels in (0.01, 0.04, 0.0):
        for dose in doses:
            for frames in numbers:
                kind = "usual" if pixels else "none"
                yield {"kind": kind, "pixels": pixels, "dose": dose, "frames": frames}
    for offset in (5.0, 30.0):
        for frames in numbers:
            yield {"kind": "usual", "pixels": 0.03, "dose": 1000.0, "frames": frames, "offset": offset}


def others(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Sets of sensors with other patterns, doses, numbers of frames and shapes."""
    rng = np.random.default_rng([seed, 99])
    kinds = ("stripes", "moire", "dust", "gradient", "smooth", "blocks", "weak")
    shapes = ((256, 256), (240, 320), (251, 199), (128, 500))
    for number in range(count):
        case: dict[str, Any] = {
            "kind": kinds[number % len(kinds)],
            "pixels": float(rng.choice([0.003, 0.01, 0.02, 0.05])),
            "dose": float(10 ** rng.uniform(-1, 1.3)),
            "frames": 2 * int(10 ** rng.uniform(0.8, 3.7)),
            "shape": shapes[int(rng.integers(len(shapes)))],
        }
        if number % 4 == 3:
            case |= {"dose": 1000.0, "offset": float(rng.choice([0.0, 5.0, 30.0]))}
            case["blur"] = float(rng.choice([0.0, 0.6]))
        yield case


def rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


def grid_rows(seeds: int, quick: bool, side: int) -> list[dict[str, Any]]:
    rows = []
    for case in grid(quick):
        found = defaultdict(list)
        for seed in range(seeds):
            for name, error in errors_of_set(case, 1000 + seed, side).items():
                found[name].append(error)
        rows.append({**case, **{name: round(rms(errors), 3) for name, errors in found.items()}})
    return rows


def compared(sets: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """How often, and by how much, best is worse than another mode."""
    rows = []
    for other in ("raw", *[mode for mode in MODES if mode != "best"]):
        ratios = np.array([found["best"] / found[other] for found in sets if found.get(other, 0) > 1e-3])
        ratios = ratios[np.isfinite(ratios)]
        rows.append(
            {
                "than": other,
                "sets": ratios.size,
                "worse by 0.1 %": int(np.sum(ratios > 1.001)),
                "by 1 %": int(np.sum(ratios > 1.01)),
                "by 5 %": int(np.sum(ratios > 1.05)),
                "worst": round(float(ratios.max(initial=0.0)), 3),
                "median": round(float(np.median(ratios)), 3) if ratios.size else None,
            }
        )
    return rows


def predicted_rows(sets: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """Predicted errors over true ones: quantiles, of sets in which the pattern matters."""
    rows = []
    for mode in ("raw", "both", "gain", "shrink", "best"):
        key = f"predicted {mode}"
        ratios = [f[key] / f[mode] for f in sets if key in f and f.get(mode, 0.0) > 0.05]
        if ratios:
            low, middle, high = np.nanpercentile(ratios, [5, 50, 95])
            row = {"mode": mode, "sets": len(ratios), "5 %": low, "median": middle, "95 %": high}
            rows.append({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and small sets, to see that it runs")
    parser.add_argument("--seeds", type=int, default=4, help="sets a cell of the grid")
    parser.add_argument("--sets", type=int, default=1000, help="sets with other patterns")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    side = 96 if given.quick else SIDE
    seeds, count = (1, 8) if given.quick else (given.seeds, given.sets)
    results: dict[str, Any] = {"grid": {"rows": grid_rows(seeds, given.quick, side)}}
    sets = [{**case, **errors_of_set(case, 5000 + i, side)} for i, case in enumerate(others(count, 7))]
    results["others"] = {"rows": compared(sets)}
    results["predicted"] = {"rows": predicted_rows(sets)}
    worst = sorted(sets, key=lambda found: -found["best"] / max(found["raw"], 1e-9))[:5]
    results["worst"] = {"rows": worst}
    for name, section in results.items():
        print(f"\n{name}:")
        rows = section["rows"]
        names = list(dict.fromkeys(key for row in rows for key in row))
        print("| " + " | ".join(names) + " |")
        for row in rows:
            print("| " + " | ".join(str(row.get(key, "")) for key in names) + " |")
    if given.json is not None:
        given.json.write_text(json.dumps(results, default=float))


if __name__ == "__main__":
    main()
