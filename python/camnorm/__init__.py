"""camnorm: a posteriori correction of camera characteristics from large image data sets.

Measures what an image sensor really does from the images that it took, corrects every image with it,
and proves by Fourier ring correlation that the correction worked. Implements P. Afanasyev et al.,
Sci. Rep. 5, 10317 (2015).
"""

import sys

from camnorm._core import build_info
from camnorm._core import version as __version__
from camnorm.application.movies import correct
from camnorm.correction.correction import Correction
from camnorm.demo import simulate
from camnorm.diagnosis import checks as screening
from camnorm.diagnosis.checks import check
from camnorm.diagnosis.convergence import Convergence, frames_needed
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.fixedpattern import FixedPattern, fixed_pattern
from camnorm.errors import Error, FormatError, NonFiniteError, ResourceError
from camnorm.fourier.correlation import frc, ring_correlation
from camnorm.fourier.curve import RingCorrelation
from camnorm.fourier.independence import Independence
from camnorm.fourier.spectrum import amplitude_spectrum, ring_average
from camnorm.io import FrameSource, ImageFormat, RawLayout, ReadOptions, open_frames
from camnorm.measurement import measure, measure_groups
from camnorm.report import plot
from camnorm.sensor.sensor import Sensor
from camnorm.statistics.moments import PixelMoments, frame_statistics
from camnorm.statistics.response import PixelResponse
from camnorm.verification.verdict import Verification
from camnorm.verification.verification import verify

__all__ = [
    "Convergence",
    "Correction",
    "Error",
    "Finding",
    "FixedPattern",
    "FormatError",
    "FrameSource",
    "ImageFormat",
    "Independence",
    "NonFiniteError",
    "PixelMoments",
    "PixelResponse",
    "RawLayout",
    "ReadOptions",
    "ResourceError",
    "RingCorrelation",
    "Sensor",
    "Verification",
    "__version__",
    "amplitude_spectrum",
    "build_info",
    "check",
    "correct",
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
    "simulate",
    "verify",
]

# Also to be imported from: "from camnorm.simulate import Camera".
sys.modules.update({f"{__name__}.{name}": globals()[name] for name in ("plot", "screening", "simulate")})
