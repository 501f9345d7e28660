"""What corrections leave behind in frames that had no part in them, over the number of frames measured.

    python bench/shortfalls.py [--quick] [--json FILE] [--docs]

Simulated cameras, whose truth is known; no times are taken. The same figures come out every time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm import Correction, PixelMoments, PixelResponse, Sensor
from camnorm.demo.simulate import Camera, Landscape
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE
from harness import put_into, table

DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "corrections.md"

Image = npt.NDArray[np.float64]

SHAPE = (160, 128)
GAIN = 2.0  # digital numbers an electron
LEVEL = 400.0  # electrons a pixel

CORRECTIONS: dict[str, dict[str, Any]] = {
    "both": {},
    "both, shrink": {"shrink": True},
    "mean": {"mode": "mean"},
    "mean, shrink": {"mode": "mean", "shrink": True},
    "gain": {"mode": "gain"},
    "gain, shrink": {"mode": "gain", "shrink": True},
}
RESPONSE: dict[str, dict[str, Any]] = {
    "response": {"mode": "response"},
    "response, shrink": {"mode": "response", "shrink": True},
}


class Lamp:
    """A field whose light falls across the frame, and towards its corners."""

    def __init__(self) -> None:
        y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
        self.light = 1 + 0.2 * x - 0.1 * (x**2 + y**2)
        self.mean, self.variance = 1.0, 0.0

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        return self.light.astype(np.float32)


def camera(seed: int, *, offset: float = 3.0, read: float = 6.0, **more: Any) -> Camera:
    """Gain, offset and read noise of every pixel; a column and a block of less sensitive ones, hot pixels."""
    rng = np.random.default_rng([seed, 1])
    gain = GAIN * (1 + 0.02 * rng.standard_normal(SHAPE))
    gain[:, 20] *= 0.7
    gain[60:64, 60:64] *= 0.5
    offsets = 100 + offset * rng.standard_normal(SHAPE)
    offsets.ravel()[rng.integers(offsets.size, size=10)] += 300
    noise = read * rng.uniform(0.2, 1.8, SHAPE)
    return Camera(SHAPE, gain=gain, offset=offsets, read_noise=noise, level=LEVEL, seed=seed, **more)


def measure(frames: npt.NDArray[Any]) -> Sensor:
    """The sensor of frames in memory, with its response."""
    halves, responses = [], []
    for part in (frames[::2], frames[1::2]):
        moments, response = (kind(SHAPE, frames.dtype) for kind in (PixelMoments, PixelResponse))
        response.add(part, np.ascontiguousarray(moments.add(part)["mean"]))
        halves.append(moments)
        responses.append(response)
    no_frames, no_files = np.empty(0, FRAME_DTYPE), np.empty(0, FILE_DTYPE)
    return Sensor((halves[0], halves[1]), no_frames, {"files": no_files}, (responses[0], responses[1]))


def rms(image: Image) -> float:
    return float(np.sqrt(np.mean(np.square(image))))


def few_frames(taken: Camera) -> Callable[[Correction], float]:
    """Error of corrected frames, beside those of the true mean and sigma, in parts of their sigma."""
    test = taken.frames(32, start=10_000)
    ideal = Correction(taken.expected_mean(), taken.expected_std()).apply(test, dtype=np.float64)

    def error(correction: Correction) -> float:
        corrected = correction.apply(test, dtype=np.float64)
        # The targets are not what is looked at.
        slope, offset = np.polyfit(corrected.ravel(), ideal.ravel(), 1)
        return rms(slope * corrected + offset - ideal) / float(ideal.std(0).mean())

    return error


def other_exposures(taken: Camera) -> Callable[[Correction], float]:
    """Pattern at 0.3 and 1.7 of the mean exposure, without noise, in parts of the mean light."""

    def error(correction: Correction) -> float:
        left = [
            correction.apply(taken.gain * (LEVEL * exposure) + taken.offset, dtype=np.float64).std()
            for exposure in (0.3, 1.7)
        ]
        return rms(np.array(left)) / (GAIN * LEVEL)

    return error


def lit(taken: Camera) -> Callable[[Correction], tuple[float, float]]:
    """Share of the illumination that stays, and pattern beside it in parts of the mean light."""
    light = Lamp().light
    mean = taken.gain * (LEVEL * light) + taken.offset
    # What deviates much is no measure of either.
    normal = taken.gain > 0.9 * GAIN
    normal &= taken.offset < 200

    def error(correction: Correction) -> tuple[float, float]:
        image = correction.apply(mean, dtype=np.float64)
        slope, offset = np.polyfit(light[normal], image[normal], 1)
        pattern = (image - slope * light - offset)[normal]
        return slope / (GAIN * LEVEL), rms(pattern) / (GAIN * LEVEL)

    return error


def averaged(
    make: Callable[[int], Camera],
    judge: Callable[[Camera], Callable[[Correction], Any]],
    corrections: Mapping[str, Mapping[str, Any]],
    numbers: Sequence[int],
    seeds: int,
) -> list[dict[str, Any]]:
    """A row for each number of frames, with what is found of each correction, averaged over cameras."""
    found: dict[tuple[int, str], list[Any]] = {}
    for seed in range(seeds):
        taken = make(seed)
        error = judge(taken)
        frames = taken.frames(max(numbers))
        for number in numbers:
            sensor = measure(frames[:number])
            for name, options in corrections.items():
                found.setdefault((number, name), []).append(error(sensor.correction(**options)))
    return [
        {"frames": number, **{name: np.mean(found[number, name], axis=0).tolist() for name in corrections}}
        for number in numbers
    ]


def text_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in percent, the least error of each row in bold."""
    names = [name for name in rows[0] if name != "frames"]
    lines = []
    for row in rows:
        values = {name: row[name][-1] if isinstance(row[name], list) else row[name] for name in names}
        least = round(100 * min(values.values()), 2)
        cells = []
        for name in names:
            percent = round(100 * values[name], 2)
            cell = f"**{percent:.2f}**" if percent == least else f"{percent:.2f}"
            if isinstance(row[name], list):
                cell = f"{abs(row[name][0]):.0%}, {cell}"
            cells.append(cell)
        lines.append([str(row["frames"]), *cells])
    return table(["frames", *names], lines)


def sections(numbers: Sequence[int], seeds: int) -> dict[str, list[dict[str, Any]]]:
    """All figures, by the names of their tables."""

    def landscape() -> Landscape:
        return Landscape(SHAPE, contrast=0.1)

    kept = {f"{name}, kept": {"keep_illumination": True, **options} for name, options in CORRECTIONS.items()}
    plain = {name: options for name, options in CORRECTIONS.items() if "shrink" not in name}
    return {
        "homogeneous": averaged(camera, few_frames, CORRECTIONS, numbers, seeds),
        "scenes": averaged(
            lambda seed: camera(seed, scene=landscape(), exposure_spread=0.3),
            few_frames,
            CORRECTIONS,
            numbers,
            seeds,
        ),
        "illumination": averaged(
            lambda seed: camera(seed, scene=Lamp()),
            lit,
            {
                "both": {},
                **{f"{name}, kept": kept[f"{name}, kept"] for name in plain},
                "both, shrink, kept": kept["both, shrink, kept"],
            },
            numbers,
            seeds,
        ),
        "exposures": averaged(
            lambda seed: camera(seed, offset=30.0, read=30.0, exposure_spread=0.7),
            other_exposures,
            {**plain, "both, shrink": CORRECTIONS["both, shrink"], **RESPONSE},
            numbers,
            seeds,
        ),
    }


def main() -> None:
    """Print the tables, and write them where the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few frames of one camera: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--docs", action="store_true", help="put the tables into corrections.md")
    options = parser.parse_args()
    numbers = [4, 32] if options.quick else [4, 8, 16, 32, 64, 128, 512, 2048]
    found = sections(numbers, 1 if options.quick else 3)
    texts = {name: text_of(rows) for name, rows in found.items()}
    for name, text in texts.items():
        print(f"{name}\n\n{text}")
    if options.json is not None:
        figures = {name: {"rows": rows} for name, rows in found.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.docs:
        put_into(DOCS, texts)


if __name__ == "__main__":
    main()
