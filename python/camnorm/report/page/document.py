"""The page: sections and their contents, put into the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import __version__, jsontext
from camnorm.diagnosis.finding import count_of
from camnorm.errors import Error
from camnorm.report.page import figures
from camnorm.report.page.charts import Chart
from camnorm.report.page.epochs import epochs_section
from camnorm.report.page.numbers import Quantity
from camnorm.report.page.pixels import marks_of, pixels_section
from camnorm.report.page.sections import Section, Table
from camnorm.report.page.viewer import Picture, picture_of, viewer_of
from camnorm.sensor.summary import sensor_summary
from camnorm.terminal import printable

if TYPE_CHECKING:
    from camnorm.diagnosis.finding import Finding
    from camnorm.report.page.report import SensorReport

__all__ = ["page_of"]

_VERDICTS = {"good": "good", "usable": "fair", "harmful": "bad", "unknown": "fair"}

# Rejected frames that are listed.
_REJECTED = 20


def page_of(report: SensorReport, next_command: str, words: Callable[[str], str]) -> str:
    """Make the page.

    Parameters
    ----------
    report : SensorReport
        What it shows.
    next_command : str
        Command to run next; empty for none.
    words : callable
        Changes sentences before they are shown.

    Returns
    -------
    str
        HTML.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError:
        raise Error("pages need the package jinja2, which is not installed: pip install jinja2") from None
    sources = {name: _source(name) for name in ("page.html", "style.css", "viewer.js")}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = lambda text: printable(words(str(text)))
    marks = [] if report.pixels is None else marks_of(report.pixels)
    viewer = viewer_of(report.sensor, marks)
    judgement = report.judgement
    return environment.from_string(sources["page.html"]).render(
        version=__version__,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        style=Markup(sources["style.css"]),
        script=Markup(sources["viewer.js"]),
        style_hash=_hash(sources["style.css"]),
        script_hash=_hash(sources["viewer.js"]),
        name=printable(report.name),
        judgement=judgement,
        verdict=_VERDICTS[judgement.verdict],
        next_command=printable(next_command),
        independent=None if report.verification is None else report.verification.numbers["independent"],
        facts=[(name, printable(value)) for name, value in _facts(report)],
        viewer=viewer,
        settings=Markup(jsontext.dumps(viewer.settings).replace("<", "\\u003c")),
        sections=_sections(report),
        flagged=[finding for finding in report.findings if finding.flagged],
        findings=[(finding, _state(finding)) for finding in report.findings],
        provenance=[(name, printable(value)) for name, value in _provenance(report)],
    )


def _source(name: str) -> str:
    return files("camnorm.report.page").joinpath("files").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page allows to run, as its content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _state(finding: Finding) -> tuple[str, str]:
    """Class and word of the outcome of a check."""
    if finding.flagged:
        return ("note", "note") if finding.severity == "note" else ("bad", "problem")
    return ("open", "cannot be determined") if np.isnan(finding.value) else ("good", "passed")


def _facts(report: SensorReport) -> Iterable[tuple[str, str]]:
    """Camera and set."""
    sensor, summary = report.sensor, sensor_summary(report.sensor)
    cameras = sorted({group.get("camera", "") for group in sensor.provenance.get("groups", [])} - {""})
    if cameras:
        yield "Camera", ", ".join(cameras)
    height, width, *planes = sensor.shape
    colours = f", {planes[0]} colour planes" if planes else ""
    yield "Frames", f"{width} × {height} pixels (x × y){colours}, {sensor.dtype.name}"
    a, b = summary["halves"]
    yield "Accepted", f"{summary['count']:,} frames: {a:,} in half A, {b:,} in half B"
    if summary["from_moments"]:
        yield "From moments", f"{summary['from_moments']:,} frames, without file names and screening"
    if summary["frames"]:
        yield "Rejected", count_of(len(summary["rejected"]), "frame")
        yield "Files", f"{len(sensor.provenance['files']):,}"
    if sensor.row_order:
        yield (
            "Row order",
            f"row 0 is the {sensor.row_order} row; images are shown as stored, row 0 at the top",
        )
    yield (
        "Measured",
        f"{sensor.provenance.get('started', 'unknown')} to {sensor.provenance.get('ended', 'unknown')}",
    )


def _sections(report: SensorReport) -> list[Section]:
    """What follows the images."""
    quantities = report.quantities()
    found = [pixels_section(report.pixels, report.no_pixels)]
    found += _verification_section(report, quantities["verification"])
    charts = [] if report.fixed_pattern is None else list(figures.of_pattern(report.fixed_pattern))
    found.append(
        Section(
            "pattern",
            "Noise and fixed pattern",
            "How strong the pattern is that all frames share, what it is made of, and what it costs.",
            [*quantities["level"], *quantities["pattern"]],
            charts,
            note=""
            if charts
            else "The halves of this set are too small to separate the pattern from the noise.",
        )
    )
    found.append(
        Section(
            "precision",
            "Precision of the measurement",
            "How exact the mean and the sigma image are, and how many frames it takes.",
            [*quantities["set"], *quantities["precision"]],
            list(figures.of_convergence(report.convergence)),
        )
    )
    found.append(_spectra_section(report))
    trends = list(figures.of_frames(report.sensor))
    found.append(
        Section(
            "trends",
            "Trends over the frames",
            "Brightness and contrast of each frame, in the order of the files. Steps and slopes mean that "
            "the exposure or the sensor changed.",
            charts=trends,
            tables=_rejected(report),
            note="" if trends else "The frames came as moments: there is no list of them.",
        )
    )
    found += epochs_section(report.epochs)
    return found


def _verification_section(report: SensorReport, quantities: list[Quantity]) -> Iterable[Section]:
    title = "FRC before and after correction"
    if report.verification is None:
        yield Section(
            "frc",
            title,
            "Not measured. Verify the correction on frames that were left out of the statistics, and make "
            "this report with the result: it shows whether a common pattern is left.",
        )
        return
    numbers = report.verification.numbers
    verdict = (
        "No common pattern is found in the corrected frames."
        if numbers["independent"]
        else "A common pattern is left in the corrected frames."
    )
    a, b = numbers["statistics"]
    charts = list(figures.of_verification(report.verification))
    yield Section(
        "frc",
        title,
        f"{verdict} Frames that show different scenes correlate only by the sensor's pattern. The test "
        f"frames were left out of the statistics ({a:,} and {b:,} frames).",
        quantities,
        charts,
        note=""
        if charts
        else "The curves are not beside verify.json: give the folder that verify wrote to see them.",
    )


def _spectra_section(report: SensorReport) -> Section:
    charts: list[Chart] = []
    pictures: list[Picture] = []
    for image, spectra in report.spectra.items():
        charts += figures.of_spectra(spectra, image) if spectra else []
        for plane, spectrum in spectra.items():
            pictures.append(
                picture_of(
                    spectrum.picture,
                    f"Spectrum of the {image}{', ' if plane else ''}{plane}",
                    "Logarithm of the amplitude over horizontal and vertical frequency, zero in the middle, "
                    "Nyquist at the sides. Dots are periodic patterns, lines are those of rows or columns.",
                )
            )
    return Section(
        "spectra",
        "Spectra",
        "Periodic patterns stand out as peaks, at fractions of Nyquist: 1 is a change from pixel to pixel, "
        "0.5 repeats every 4 pixels. They come from the readout electronics. A correction removes them.",
        charts=charts,
        pictures=pictures,
        note="" if charts else "Frames of a single row or column have no spectrum over rings.",
    )


def _rejected(report: SensorReport) -> list[Table]:
    rows = sensor_summary(report.sensor)["rejected"]
    if not rows:
        return []
    more = f" (first {_REJECTED} of {len(rows):,})" if len(rows) > _REJECTED else ""
    return [
        Table(
            f"Rejected frames{more}",
            ("File", "Frame", "Reason"),
            [
                (row["file"], "all" if row["index"] is None else str(row["index"]), row["reason"])
                for row in rows[:_REJECTED]
            ],
        )
    ]


def _provenance(report: SensorReport) -> Iterable[tuple[str, str]]:
    """How the measurement was made."""
    provenance: dict[str, Any] = report.sensor.provenance
    paths = provenance["files"]["path"].tolist()
    yield "Report made with", f"camnorm {__version__}"
    yield "Measured with", f"camnorm {provenance.get('version', 'unknown')}"
    yield "Command", str(provenance.get("command") or "none")
    if paths:
        yield "First file", str(paths[0])
        yield "Last file", str(paths[-1])
    for key in ("screening", "selection", "reading"):
        if settings := {name: value for name, value in (provenance.get(key) or {}).items() if value}:
            yield key.capitalize(), ", ".join(f"{name} {value}" for name, value in settings.items())
    for key in ("parts", "subtracted"):
        if provenance.get(key):
            yield key.capitalize(), f"{len(provenance[key])} measurements"
