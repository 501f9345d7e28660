"""camnorm: a posteriori correction of camera characteristics from large image data sets.

Measures what an image sensor really does from the images that it took, corrects every image with it,
and proves by Fourier ring correlation that the correction worked. Implements P. Afanasyev et al.,
Sci. Rep. 5, 10317 (2015).
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from camnorm._core import build_info
from camnorm._core import version as __version__
from camnorm.errors import Error, FormatError, NonFiniteError, ResourceError

if TYPE_CHECKING:
    from camnorm.application.movies import correct
    from camnorm.correction.correction import Correction
    from camnorm.demo import simulate
    from camnorm.diagnosis import checks as screening
    from camnorm.diagnosis.checks import check
    from camnorm.diagnosis.convergence import Convergence, frames_needed
    from camnorm.diagnosis.epochs.changes import Changes
    from camnorm.diagnosis.epochs.comparison import compare
    from camnorm.diagnosis.finding import Finding
    from camnorm.diagnosis.fixedpattern import FixedPattern, fixed_pattern
    from camnorm.diagnosis.gaincheck import GainCheck, check_gain
    from camnorm.diagnosis.pixels.classify import classify_pixels
    from camnorm.fourier.correlation import frc, ring_correlation
    from camnorm.fourier.curve import RingCorrelation
    from camnorm.fourier.independence import Independence
    from camnorm.fourier.spectrum import amplitude_spectrum, ring_average
    from camnorm.handover import Export, export
    from camnorm.io import FrameSource, ImageFormat, RawLayout, ReadOptions, open_frames
    from camnorm.measurement import measure, measure_groups
    from camnorm.report import plot
    from camnorm.report.page.report import SensorReport, sensor_report
    from camnorm.sensor.pixelmap import PixelMap
    from camnorm.sensor.sensor import Sensor
    from camnorm.statistics.moments import PixelMoments, frame_statistics
    from camnorm.statistics.neighbours import NeighbourSums
    from camnorm.statistics.response import PixelResponse
    from camnorm.verification.verdict import Verification
    from camnorm.verification.verification import verify

__all__ = [
    "Changes",
    "Convergence",
    "Correction",
    "Error",
    "Export",
    "Finding",
    "FixedPattern",
    "FormatError",
    "FrameSource",
    "GainCheck",
    "ImageFormat",
    "Independence",
    "NeighbourSums",
    "NonFiniteError",
    "PixelMap",
    "PixelMoments",
    "PixelResponse",
    "RawLayout",
    "ReadOptions",
    "ResourceError",
    "RingCorrelation",
    "Sensor",
    "SensorReport",
    "Verification",
    "__version__",
    "amplitude_spectrum",
    "build_info",
    "check",
    "check_gain",
    "classify_pixels",
    "compare",
    "correct",
    "export",
    "fixed_pattern",
    "frame_statistics",
    "frames_needed",
    "frc",
    "measure",
    "measure_groups",
    "open_frames",
    "plot",
    "ring_average",
    "ring_correlation",
    "screening",
    "sensor_report",
    "simulate",
    "verify",
]

# Modules of the public names, imported when a name is first used: the command line prints its version and its
# help without them.
_NAMES = {
    "camnorm.application.movies": ("correct",),
    "camnorm.correction.correction": ("Correction",),
    "camnorm.diagnosis.checks": ("check",),
    "camnorm.diagnosis.convergence": ("Convergence", "frames_needed"),
    "camnorm.diagnosis.epochs.changes": ("Changes",),
    "camnorm.diagnosis.epochs.comparison": ("compare",),
    "camnorm.diagnosis.finding": ("Finding",),
    "camnorm.diagnosis.fixedpattern": ("FixedPattern", "fixed_pattern"),
    "camnorm.diagnosis.gaincheck": ("GainCheck", "check_gain"),
    "camnorm.diagnosis.pixels.classify": ("classify_pixels",),
    "camnorm.fourier.correlation": ("frc", "ring_correlation"),
    "camnorm.fourier.curve": ("RingCorrelation",),
    "camnorm.fourier.independence": ("Independence",),
    "camnorm.fourier.spectrum": ("amplitude_spectrum", "ring_average"),
    "camnorm.handover": ("Export", "export"),
    "camnorm.io": ("FrameSource", "ImageFormat", "RawLayout", "ReadOptions", "open_frames"),
    "camnorm.measurement": ("measure", "measure_groups"),
    "camnorm.report.page.report": ("SensorReport", "sensor_report"),
    "camnorm.sensor.pixelmap": ("PixelMap",),
    "camnorm.sensor.sensor": ("Sensor",),
    "camnorm.statistics.moments": ("PixelMoments", "frame_statistics"),
    "camnorm.statistics.neighbours": ("NeighbourSums",),
    "camnorm.statistics.response": ("PixelResponse",),
    "camnorm.verification.verdict": ("Verification",),
    "camnorm.verification.verification": ("verify",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
