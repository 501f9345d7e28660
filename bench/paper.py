"""The paper's experiments again: Figs. 1 to 4 with numbers.

    python bench/paper.py [-o DIR] [--frames N] [--images DIR...] [--quick]

Simulated cameras of the paper's sizes (4096 x 4096 behind an electron microscope, 1200 x 1344 behind a
Bayer filter) take frames, from which mean and sigma image are measured in two halves. Two groups of twelve
frames that are not among them are compared by Fourier ring correlation, without a window as in the paper, raw
and corrected: each group by a half of its own. Directories of real images are measured and verified as
`camnorm verify` does it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import camnorm
from camnorm import Correction, PixelMoments, RingCorrelation
from camnorm.demo.simulate import Camera
from harness import cores, table

_GROUP = 12

# The paper's sets: 10,821 images of ribosomes, 1,064 of Mars. Of the former, 600 are simulated by default.
_ELECTRON_FRAMES, _BAYER_FRAMES = 600, 1064
_ELECTRON_SHAPE, _BAYER_SHAPE = (4096, 4096), (1200, 1344)
_ELECTRON_PEAKS, _BAYER_PEAKS = (0.5, 0.75), (0.5,)

# Rings about a frequency that make its peak, and those beside it that it must stand out of.
_PEAK, _BESIDE = 2, 20

Frame = npt.NDArray[Any]


def frames_of(camera: Camera, indices: Iterable[int], threads: int) -> Iterable[Frame]:
    """Frames in their order, made in several threads, no more than two a thread at a time."""
    waiting = []
    with ThreadPoolExecutor(threads) as pool:
        for index in indices:
            waiting.append(pool.submit(camera.frame, index))
            if len(waiting) == 2 * threads:
                yield waiting.pop(0).result()
        for frame in waiting:
            yield frame.result()


def measure(camera: Camera, count: int, threads: int) -> tuple[PixelMoments, PixelMoments]:
    """Moments of two halves, of every other frame each."""
    first = camera.frame(0)
    halves = PixelMoments(first.shape, first.dtype), PixelMoments(first.shape, first.dtype)
    for number, frame in enumerate(frames_of(camera, range(count), threads)):
        halves[number % 2].add(frame, threads=threads)
    return halves


def height(curve: RingCorrelation, peak: float) -> float:
    """How far the rings at a fraction of Nyquist stand out of those beside them."""
    middle = round(peak * min(curve.shape) / 2)
    near = curve.correlation[middle - _PEAK : middle + _PEAK + 1]
    beside = curve.correlation[middle - _BESIDE : middle + _BESIDE + 1]
    return float(near.max() - np.median(beside))


def numbers(curve: RingCorrelation, peaks: Sequence[float]) -> dict[str, Any]:
    """What a curve shows."""
    verdict = curve.independence()
    return {
        "rings": verdict.rings,
        "outside_3sigma": verdict.outside_3sigma,
        "mean_correlation": verdict.mean_correlation,
        "p": verdict.p,
        "peaks": {str(peak): height(curve, peak) for peak in peaks},
    }


def experiment(
    name: str, camera: Camera, count: int, peaks: Sequence[float], output: Path, threads: int
) -> dict[str, Any]:
    """One camera: measure, correct, compare; figures."""
    halves = measure(camera, count, threads)
    whole = halves[0] + halves[1]
    mean, sigma = whole.mean(), whole.std()
    groups = [
        list(frames_of(camera, range(first, first + _GROUP), threads)) for first in (count, count + _GROUP)
    ]
    target = float(mean.mean()), float(sigma.mean())
    corrections = [
        Correction(half.mean(), half.std(), target_mean=target[0], target_sigma=target[1]) for half in halves
    ]
    curves: dict[str, RingCorrelation] = {}
    for averaged, images in (
        ("single frames", [group[0] for group in groups]),
        (f"averages of {_GROUP}", [np.mean(group, axis=0) for group in groups]),
    ):
        corrected = [c.apply(image, dtype=np.float64) for c, image in zip(corrections, images, strict=True)]
        for state, pair in (("raw", images), ("corrected", corrected)):
            curve = camnorm.frc(*pair, threads=threads)
            assert isinstance(curve, RingCorrelation)
            curves[f"{averaged}, {state}"] = curve
    common = float(np.mean((halves[0].mean() - target[0]) * (halves[1].mean() - target[0])))
    camnorm.plot.save(camnorm.plot.frc_figure(curves, peaks=peaks), output / f"{name}_frc.png")
    detail = camera.shape[0] // 8
    patch = np.s_[-detail:, :detail]
    shown = corrections[0].apply(groups[0][0])
    figure = camnorm.plot.correction_figure(groups[0][0], mean, sigma, shown, patch)
    camnorm.plot.save(figure, output / f"{name}_correction.png")
    concealed = sigma[camera.concealed]
    return {
        "camera": name,
        "shape": list(camera.shape),
        "frames": count,
        "pattern_to_noise": float(np.sqrt(max(common, 0.0)) / target[1]),
        "pattern_in_mean_image": common / float(mean.var()),
        "sigma_of_concealed": float(np.median(concealed) / np.median(sigma)) if concealed.size else None,
        "curves": {title: numbers(curve, peaks) for title, curve in curves.items()},
    }


def real(directory: Path, threads: int) -> dict[str, Any]:
    """Images of a real camera."""
    sensor = camnorm.measure(directory, threads=threads)
    found = camnorm.verify(directory, sensor, threads=threads)
    group = len(found.files[0])
    titled = {"single frames": found.pairs, f"averages of {group}": found.groups}
    return {
        "camera": directory.name,
        "shape": list(sensor.shape),
        "frames": sensor.count,
        "curves": {
            f"{title}, {state}": {
                key: getattr(found, key) for key in ("rings", "outside_3sigma", "mean_correlation", "p")
            }
            for title, comparison in titled.items()
            for state, found in (("raw", comparison.raw), ("corrected", comparison.corrected))
        },
    }


def text(result: Mapping[str, Any]) -> str:
    """The numbers of one camera as a table."""
    peaks = list(next(iter(result["curves"].values())).get("peaks", {}))
    header = [
        "frames",
        "rings outside ±3σ",
        "mean FRC",
        "p",
        *(f"peak at {peak} of Nyquist" for peak in peaks),
    ]
    rows = [
        [
            title,
            f"{curve['outside_3sigma']} of {curve['rings']}",
            f"{curve['mean_correlation']:+.4f}",
            f"{curve['p']:.2g}",
            *(f"{curve['peaks'][peak]:+.3f}" for peak in peaks),
        ]
        for title, curve in result["curves"].items()
    ]
    shape = " x ".join(map(str, result["shape"]))
    lines = [f"### {result['camera']}: {result['frames']} frames of {shape}", "", table(header, rows)]
    if "pattern_to_noise" in result:
        facts = (
            f"The fixed pattern is {result['pattern_to_noise']:.1%} of the sigma of a frame, and makes up "
            f"{result['pattern_in_mean_image']:.1%} of the variance of the mean image."
        )
        if result["sigma_of_concealed"] is not None:
            facts += f" Concealed pixels have {result['sigma_of_concealed']:.2f} of the others' sigma."
        lines.append(facts + "\n")
    return "\n".join(lines)


def main() -> None:
    """Run the experiments that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("paper"), metavar="DIR", help="for figures")
    parser.add_argument(
        "--frames", type=int, default=_ELECTRON_FRAMES, metavar="N", help="of the first camera"
    )
    parser.add_argument("--images", type=Path, nargs="*", default=[], metavar="DIR", help="of real cameras")
    parser.add_argument("--threads", type=int, default=cores(), metavar="N")
    parser.add_argument("--quick", action="store_true", help="few and small frames: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    electron, bayer, others = _ELECTRON_SHAPE, _BAYER_SHAPE, _BAYER_FRAMES
    if options.quick:
        electron, bayer, options.frames, others = (256, 256), (128, 160), 80, 60
    options.output.mkdir(parents=True, exist_ok=True)
    cameras = {
        "electron": (Camera.electron(electron), options.frames, _ELECTRON_PEAKS),
        "bayer": (Camera.bayer(bayer), others, _BAYER_PEAKS),
    }
    results = {}
    for name, (camera, count, peaks) in cameras.items():
        results[name] = experiment(name, camera, count, peaks, options.output, options.threads)
        print(text(results[name]), flush=True)
    for directory in options.images:
        results[directory.name] = real(directory, options.threads)
        print(text(results[directory.name]), flush=True)
    if options.json is not None:
        rows = {name: {"rows": [result]} for name, result in results.items()}
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
