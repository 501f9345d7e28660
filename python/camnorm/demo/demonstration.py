"""The demonstration: the paper's whole job on raw frames of two simulated cameras."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core, jsontext
from camnorm.application.movies import correct
from camnorm.demo.findings import FoundPixels, found_pixels
from camnorm.demo.simulate import Camera
from camnorm.diagnosis.pixels.classify import classify_pixels
from camnorm.errors import Error
from camnorm.io import open_frames
from camnorm.io.base.atomic import atomic_target
from camnorm.measurement import measure
from camnorm.progress import Progress
from camnorm.report import plot
from camnorm.sensor.summary import sensor_summary
from camnorm.terminal import printable
from camnorm.verification.table import verification_table
from camnorm.verification.verdict import Verification
from camnorm.verification.verification import verify

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from camnorm.sensor.sensor import Sensor

__all__ = ["CameraReport", "Demo", "run_demo"]

_FIGURES = ("fig1_electron.png", "fig2_frc.png", "fig3_bayer.png", "fig4_bayer_frc.png")

# Files that are corrected, of each camera.
_CORRECTED = 3

# Parts of the summary of a sensor that summary.json holds.
_SUMMARISED = ("frames", "accepted", "rejected", "shape", "dtype", "target_mean", "target_sigma")

# Side of the detail that the figure of the electron camera shows.
_DETAIL = 168


@dataclass(frozen=True)
class Scale:
    """How much the two cameras take.

    Attributes
    ----------
    electron_shape, bayer_shape : tuple of int
        Shape (y, x) of their frames.
    movies : int
        Movies of the electron camera, of three frames each. During the last one the beam is off: deviant
        frames for the screening to find.
    images : int
        Images of the Bayer camera, a frame each.
    """

    electron_shape: tuple[int, int] = (768, 768)
    movies: int = 101
    bayer_shape: tuple[int, int] = (600, 672)
    images: int = 240


_MOVIE_FRAMES = 3


@dataclass(frozen=True, eq=False)
class CameraReport:
    """What the demonstration found of one camera.

    Attributes
    ----------
    name : str
        What the camera is.
    raw, corrected : list of Path
        Files of raw frames, and of those that were corrected.
    sensor_file : Path
        Sensor file.
    sensor : Sensor
        Its content.
    verification : Verification
        Ring correlations and verdict.
    deviation : float
        Root mean square of (mean image - truth) / (sigma image / sqrt(count)): 1 if the mean image is as
        near to the camera's true one as the number of frames allows.
    bad_pixels : FoundPixels
        Which of the planted defects are among the bad pixels that were found.
    """

    name: str
    raw: list[Path]
    corrected: list[Path]
    sensor_file: Path
    sensor: Sensor
    verification: Verification
    deviation: float
    bad_pixels: FoundPixels

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        summary = sensor_summary(self.sensor)
        return {
            "files": len(self.raw),
            **{name: summary[name] for name in _SUMMARISED},
            "deviation_from_truth": self.deviation,
            "bad_pixels": self.bad_pixels.to_dict(),
            "sensor": str(self.sensor_file),
            "corrected": [str(path) for path in self.corrected],
            "verification": self.verification.to_dict(),
        }

    def __str__(self) -> str:
        sensor = self.sensor
        height, width = sensor.shape
        total = len(sensor.frames)
        lines = [
            f"{self.name}: {len(self.raw)} files, {total} frames of {height} x {width} {sensor.dtype}",
            f"  in the statistics   {sensor.count} frames, {total - sensor.count} screened out",
            f"  mean over sensor    {sensor.target_mean:.1f} counts",
            f"  sigma over sensor   {sensor.target_sigma:.1f} counts",
            f"  mean image          {self.deviation:.2f} standard errors (rms) from the camera's true one",
            f"  bad pixels          {self.bad_pixels}",
            indent(verification_table(self.verification), "  "),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Demo:
    """Result of `run_demo`.

    Attributes
    ----------
    directory : Path
        Where everything is.
    cameras : dict
        `CameraReport` of "electron" and of "bayer".
    figures : list of Path
        Figures after the paper's Figs. 1 to 4.
    seconds : float
        Time that it took.
    """

    directory: Path
    cameras: dict[str, CameraReport]
    figures: list[Path]
    seconds: float

    @property
    def independent(self) -> bool:
        """The verdict: the corrected images of both cameras are independent."""
        return all(report.verification.independent for report in self.cameras.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return {
            "independent": self.independent,
            "directory": str(self.directory),
            "figures": [str(path) for path in self.figures],
            "seconds": self.seconds,
            "cameras": {name: report.to_dict() for name, report in self.cameras.items()},
        }

    def __str__(self) -> str:
        verdict = (
            "Independent: no common pattern is found in the corrected frames of either camera."
            if self.independent
            else "Correlated: a common pattern is left in the corrected frames."
        )
        parts = [f"verdict         {verdict}", *map(str, self.cameras.values())]
        parts.append("\n".join(["figures:", *(f"  {printable(str(path))}" for path in self.figures)]))
        return "\n\n".join(parts)


def run_demo(
    directory: str | os.PathLike[str],
    *,
    scale: Scale = Scale(),
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Demo:
    """Take raw frames with two simulated cameras, measure, correct and verify them, and draw figures.

    Parameters
    ----------
    directory : path-like
        Where everything is written (about 0.5 GB): a new or empty directory, or that of an earlier
        demonstration, which is replaced.
    scale : Scale, optional
        How much the cameras take. The figures of the paper need the default.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.
    progress : callable, optional
        Called with a `Progress` now and then.

    Returns
    -------
    Demo
        Also written to summary.txt and summary.json.

    Raises
    ------
    Error
        If there is anything else in `directory`.
    OSError
        If `directory` cannot be written.
    """
    start = time.monotonic()
    folder = Path(directory)
    _check_folder(folder)
    workers = _core.resolve_threads(threads)

    electron = Camera.electron(scale.electron_shape)
    movies = [folder / "electron" / "raw" / f"movie_{i:03}.mrc" for i in range(scale.movies)]

    def take_movie(index: int) -> None:
        _write_movie(electron, index, movies[index], exposure=0.0 if index == scale.movies - 1 else 1.0)

    _make(movies, take_movie, electron, _MOVIE_FRAMES, workers, progress)
    bayer = Camera.bayer(scale.bayer_shape)
    images = [folder / "bayer" / "raw" / f"image_{i:03}.tif" for i in range(scale.images)]
    _make(images, lambda i: _write_image(bayer, i, images[i]), bayer, 1, workers, progress)

    reports = {
        "electron": _whole_job("electron camera", electron, movies, folder / "electron", workers, progress),
        "bayer": _whole_job("Bayer camera", bayer, images, folder / "bayer", workers, progress),
    }
    figures = _figures(folder, electron, bayer, reports)
    demo = Demo(folder, reports, figures, time.monotonic() - start)
    for name, text in (
        ("summary.txt", str(demo)),
        ("summary.json", jsontext.dumps(demo.to_dict(), indent=2)),
    ):
        with atomic_target(folder / name, overwrite=True) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return demo


def _check_folder(folder: Path) -> None:
    """Raise Error if there is anything in a folder that no demonstration wrote."""
    ours = {"electron", "bayer", "summary.txt", "summary.json", *_FIGURES}
    others = [path.name for path in sorted(folder.glob("[!.]*")) if path.name not in ours]
    if others:
        raise Error(f"{folder}: already holds other files ({others[0]}); choose a new folder")


def _make(
    paths: Sequence[Path],
    write: Callable[[int], None],
    camera: Camera,
    frames_a_file: int,
    threads: int,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Write raw files in parallel; each holds its own frames whatever the order."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    size = int(np.prod(camera.shape)) * camera.dtype.itemsize
    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(write, range(len(paths))), start=1):
            if progress is not None:
                frames = done * frames_a_file
                progress(Progress("taking frames", done, len(paths), frames, frames * size, 0))


def _write_movie(camera: Camera, index: int, path: Path, exposure: float) -> None:
    import mrcfile

    first = index * _MOVIE_FRAMES
    frames = np.stack([camera.frame(first + i, exposure=exposure) for i in range(_MOVIE_FRAMES)])
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(frames)
        file.set_image_stack()
        file.voxel_size = 1.0


def _write_image(camera: Camera, index: int, path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, camera.frame(index), compression="zlib")


def _whole_job(
    name: str,
    camera: Camera,
    raw: list[Path],
    folder: Path,
    threads: int,
    progress: Callable[[Progress], None] | None,
) -> CameraReport:
    sensor_file = folder / "sensor.h5"
    sensor = measure(raw, sensor_file, overwrite=True, threads=threads, progress=progress)
    corrected = correct(
        raw[:_CORRECTED], sensor, folder / "corrected", overwrite=True, threads=threads, progress=progress
    )
    # These scenes have no strong low frequencies: with this window the paper's ±3σ keeps its meaning.
    verification = verify(raw, sensor, window="tukey", threads=threads)
    verification.save(folder / "verification")
    error = sensor.sigma / np.sqrt(sensor.count)
    deviation = float(np.sqrt(np.mean(((sensor.mean - camera.expected_mean()) / error) ** 2)))
    found = found_pixels(classify_pixels(sensor), camera)
    return CameraReport(name, raw, corrected, sensor_file, sensor, verification, deviation, found)


def _figures(folder: Path, electron: Camera, bayer: Camera, reports: dict[str, CameraReport]) -> list[Path]:
    height = electron.shape[0]
    line = _middle(electron, "line")[0]
    bundle = _middle(electron, "bundle")[1]
    block, spot = _middle(bayer, "block"), _middle(bayer, "spot")
    top, left = round(block[0]) - 38, round(block[1]) - 42
    found, bayer_found = reports["electron"].verification, reports["bayer"].verification
    averages = f"two averages of {len(found.files[0])} frames"
    made = (
        _correction_figure(
            reports["electron"],
            (slice(height - _DETAIL, height), slice(0, _DETAIL)),
            [(height - 0.6 * _DETAIL, bundle), (line, 0.78 * _DETAIL)],
            "Arrows: a bundle of dead columns and a dead row, which the vendor replaced by their neighbours; "
            "only the sigma image shows them.",
        ),
        plot.frc_figure(
            {
                "raw, two frames": found.pairs.raw.curves,
                f"raw, {averages}": found.groups.raw.curves,
                "corrected, two frames": found.pairs.corrected.curves,
                f"corrected, {averages}": found.groups.corrected.curves,
            },
            peaks=(0.5, 0.75),
        ),
        _correction_figure(
            reports["bayer"],
            (slice(top, top + 75), slice(left, left + 84)),
            [block, spot],
            "Arrows: a block and a spot of less sensitive pixels; the correction restores them.",
        ),
        plot.frc_figure(
            {"raw": bayer_found.pairs.raw.curves, "corrected": bayer_found.pairs.corrected.curves},
            images={Path(path).name: _read(Path(path), index) for (path, index), *_ in bayer_found.files},
            peaks=(0.5,),
        ),
    )
    for name, figure in zip(_FIGURES, made, strict=True):
        plot.save(figure, folder / name)
    return [folder / name for name in _FIGURES]


def _correction_figure(
    report: CameraReport, patch: tuple[slice, slice], arrows: Sequence[tuple[float, float]], caption: str
) -> Figure:
    return plot.correction_figure(
        _read(report.raw[0], 0),
        report.sensor.mean,
        report.sensor.sigma,
        _read(report.corrected[0], 0),
        patch,
        arrows=arrows,
        caption=caption,
    )


def _read(path: Path, index: int) -> NDArray[Any]:
    with open_frames(path) as source:
        frame: NDArray[Any] = source.read(index)[0]
    return frame


def _middle(camera: Camera, defect: str) -> tuple[float, float]:
    """Row and column in the middle of a planted defect."""
    rows, columns = np.nonzero(camera.defects[defect])
    return float(rows.min() + rows.max()) / 2, float(columns.min() + columns.max()) / 2
