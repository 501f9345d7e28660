"""Everything known about a sensor, gathered: as numbers for programs, and as a page for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.correction.targets import as_number_or_list
from camnorm.diagnosis.checks import check
from camnorm.diagnosis.convergence import Convergence, frames_needed
from camnorm.diagnosis.decomposition import Decomposition, decompose
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.fixedpattern import FixedPattern, fixed_pattern, tells_pattern
from camnorm.diagnosis.judgement import Judgement, judge
from camnorm.diagnosis.pixels.classify import classify_pixels
from camnorm.errors import Error
from camnorm.io.base.atomic import atomic_target, check_content
from camnorm.report.page import numbers
from camnorm.report.page.epochs import Epoch, epoch_of, older_epoch
from camnorm.report.page.numbers import Quantity
from camnorm.report.page.pixels import of_pixels
from camnorm.report.page.viewer import plane_names, planes_of
from camnorm.report.spectra import Curve, ImageSpectrum, image_spectrum
from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.sensor.summary import sensor_summary
from camnorm.verification.saved import SavedVerification, load_verification
from camnorm.verification.verdict import Verification

if TYPE_CHECKING:
    from camnorm.sensor.pixelmap import PixelMap
    from camnorm.sensor.sensor import Image
    from camnorm.statistics.neighbours import NeighbourSums

__all__ = ["MARK", "SensorReport", "sensor_report"]

# In every page: by it a page is known that may be replaced.
MARK = b'<meta name="generator" content="camnorm'

_SPECTRA = ("mean image", "sigma image")


@dataclass(frozen=True, eq=False, repr=False)
class SensorReport:
    """Everything known about a sensor; `sensor_report` makes it.

    Attributes
    ----------
    sensor : Sensor
        The measurement.
    name : str
        What it is called on the page.
    convergence : Convergence
        Whether the frames are enough.
    findings : list of Finding
        What all checks found, problems first.
    fixed_pattern : FixedPattern or None
        How strong the pattern is and what it costs; None if the set is too small to tell.
    decomposition : Decomposition
        What rows, columns and single pixels have of the pattern.
    spectra : dict
        Spectra of the mean and of the sigma image, each a dict by the name of the colour plane.
    pixels : PixelMap or None
        The bad pixels; None if they cannot be found.
    no_pixels : str
        Why they cannot be found.
    verification : SavedVerification or None
        FRC before and after the correction, if there is a verification.
    epochs : tuple of Epoch
        Earlier measurements in the order in which they were given, and this one.
    """

    sensor: Sensor
    name: str
    convergence: Convergence
    findings: list[Finding]
    fixed_pattern: FixedPattern | None
    decomposition: Decomposition
    spectra: dict[str, dict[str, ImageSpectrum]]
    pixels: PixelMap | None
    no_pixels: str = ""
    verification: SavedVerification | None = None
    epochs: tuple[Epoch, ...] = ()

    @property
    def judgement(self) -> Judgement:
        """The verdict on the set."""
        return judge(self.convergence, self.findings)

    def quantities(self) -> dict[str, list[Quantity]]:
        """All numbers of the page, by section: set, level, pixels, pattern, precision and verification."""
        mean, sigma = self.sensor.target_mean, self.sensor.target_sigma
        return {
            "set": list(numbers.of_set(sensor_summary(self.sensor), self.convergence)),
            "level": list(numbers.of_level(float(np.mean(mean)), float(np.mean(sigma)))),
            "pixels": [] if self.pixels is None else list(of_pixels(self.pixels)),
            "pattern": list(numbers.of_pattern(self.fixed_pattern, self.decomposition, self.convergence)),
            "precision": list(numbers.of_precision(self.convergence)),
            "verification": []
            if self.verification is None
            else list(numbers.of_verification(self.verification.numbers)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers of the page by stable names, ready for JSON."""
        sensor = self.sensor
        provenance = sensor.provenance
        return {
            "name": self.name,
            **self.judgement.to_dict(),
            "count": sensor.count,
            "shape": list(sensor.shape),
            "dtype": sensor.dtype.name,
            "target_mean": as_number_or_list(sensor.target_mean),
            "target_sigma": as_number_or_list(sensor.target_sigma),
            "numbers": numbers.as_json(
                [quantity for section in self.quantities().values() for quantity in section]
            ),
            "bad_pixels": None if self.pixels is None else self.pixels.summary,
            "independent": None if self.verification is None else self.verification.numbers["independent"],
            "peaks": {
                image: {
                    axis: _peaks([getattr(spectrum, axis) for spectrum in spectra.values()])
                    for axis in ("rings", "along_x", "along_y")
                }
                for image, spectra in zip(("mean", "sigma"), self.spectra.values(), strict=True)
            },
            "epochs": [epoch.to_dict() for epoch in self.epochs],
            "findings": [finding.to_dict() for finding in self.findings],
            **{key: provenance.get(key) for key in ("version", "command", "started", "ended")},
        }

    def html(self, *, next_command: str = "", words: Callable[[str], str] | None = None) -> str:
        """Return the page: one HTML file with all that it shows, which needs no network.

        Parameters
        ----------
        next_command : str
            Command to run next, shown below the verdict.
        words : callable, optional
            Changes sentences before they are shown: the command line names options in place of arguments.

        Returns
        -------
        str

        Raises
        ------
        Error
            The package jinja2 is not installed.
        """
        from camnorm.report.page.document import page_of

        return page_of(self, next_command, words or str)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        next_command: str = "",
        words: Callable[[str], str] | None = None,
    ) -> None:
        """Write the page, atomically.

        Parameters
        ----------
        path : path-like
            The HTML file.
        overwrite : bool
            Replace an existing report. Files of another kind are never replaced.
        next_command, words
            As of `html`.

        Raises
        ------
        Error
            There is such a file already, or one of another kind.
        OSError
            It cannot be written.
        """
        self.check_path(path, overwrite=overwrite)
        with atomic_target(path, overwrite) as temporary:
            temporary.write_text(
                self.html(next_command=next_command, words=words), encoding="utf-8", errors="replace"
            )

    @staticmethod
    def check_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Raise Error if `save` would refuse to write there, before the work for it.

        Parameters
        ----------
        path, overwrite
            As of `save`.
        """
        check_content(path, MARK, "a report of camnorm")
        if not overwrite and Path(path).exists():
            raise Error(f"{os.fspath(path)}: already exists; use overwrite=True to replace it")

    def __repr__(self) -> str:
        return f"<SensorReport of {self.name}: {self.judgement.sentence}>"


def sensor_report(
    sensor: Sensor | str | os.PathLike[str],
    *,
    verification: Verification | str | os.PathLike[str] | None = None,
    neighbours: NeighbourSums | None = None,
    older: Iterable[str | os.PathLike[str]] = (),
    name: str | None = None,
    threads: int | None = None,
) -> SensorReport:
    """Gather everything known about a sensor, for a page or for monitoring.

    Parameters
    ----------
    sensor : Sensor or path-like
        The measurement.
    verification : Verification or path-like, optional
        What `verify` gave for this sensor, or the folder or verify.json that keeps it.
    neighbours : NeighbourSums, optional
        As of `classify_pixels`.
    older : iterable of path-like
        Earlier measurements of this sensor, the oldest first: what changed since then.
    name : str, optional
        What the sensor is called on the page; by default the name of its file.
    threads : int, optional
        Number of threads. By default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    SensorReport

    Raises
    ------
    Error
        The sensor holds no frames, or an earlier measurement is of another sensor.
    FormatError
        A file that is none of camnorm's.

    Examples
    --------
    >>> import camnorm
    >>> report = camnorm.sensor_report("sensor.h5")
    >>> report.to_dict()["verdict"]
    'usable'
    >>> report.save("report.html")
    """
    if isinstance(sensor, (str, os.PathLike)):
        name = Path(sensor).name if name is None else name
        sensor = Sensor.load(sensor)
    sensor = as_sensor(sensor)
    if not sensor.count:
        raise Error("the sensor holds no frames: there is nothing to report")
    saved = None
    if isinstance(verification, Verification):
        saved = SavedVerification.of(verification)
    elif verification is not None:
        saved = load_verification(verification)
    try:
        pixels, no_pixels = classify_pixels(sensor, neighbours), ""
    except Error as error:
        pixels, no_pixels = None, str(error)
    convergence = frames_needed(sensor)
    return SensorReport(
        sensor,
        name or "sensor",
        convergence,
        check(sensor, convergence),
        fixed_pattern(sensor, threads=threads) if tells_pattern(sensor) else None,
        decompose(sensor),
        _spectra(sensor),
        pixels,
        no_pixels,
        saved,
        (*(older_epoch(path, sensor) for path in older), epoch_of(sensor, name or "sensor", pixels)),
    )


def _spectra(sensor: Sensor) -> dict[str, dict[str, ImageSpectrum]]:
    if min(sensor.shape[:2]) < 2:  # no rings
        return {name: {} for name in _SPECTRA}
    names = plane_names(sensor)
    return {
        name: {plane: image_spectrum(_finite(pixels)) for plane, pixels in planes_of(image, names)}
        for name, image in zip(_SPECTRA, (sensor.mean, sensor.sigma), strict=True)
    }


def _finite(image: Image) -> Image:
    """The image with the median in place of pixels without a value."""
    good = np.isfinite(image)
    if good.all():
        return image
    return np.where(good, image, np.median(image[good]) if good.any() else 0.0)


def _peaks(curves: Iterable[Curve]) -> list[float]:
    """Frequencies of peaks in any plane, as fractions of Nyquist."""
    places: Sequence[float] = [float(curve.nyquist[peak]) for curve in curves for peak in curve.peaks]
    return sorted({round(place, 4) for place in places})
