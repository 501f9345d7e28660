"""camnorm: a posteriori correction of camera characteristics from large image data sets.

Measures what an image sensor really does from the images that it took, corrects every image with it,
and proves by Fourier ring correlation that the correction worked. Implements P. Afanasyev et al.,
Sci. Rep. 5, 10317 (2015).
"""

from . import plot, screening, simulate
from ._core import build_info
from ._core import version as __version__
from .assumptions import check
from .convergence import Convergence, frames_needed
from .correction import Correction
from .errors import Error, FormatError, NonFiniteError, ResourceError
from .findings import Finding
from .fixedpattern import FixedPattern, fixed_pattern
from .fourier import (
    Independence,
    RingCorrelation,
    amplitude_spectrum,
    frc,
    ring_average,
    ring_correlation,
)
from .io import FrameSource, ImageFormat, RawLayout, ReadOptions, open_frames
from .measurement import measure, measure_groups
from .moments import PixelMoments, frame_statistics
from .movies import correct
from .response import PixelResponse
from .sensor import Sensor
from .verification import Verification, verify

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
