"""The class of every pixel of a sensor, and the lines and clusters of bad ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Lock

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.pixels.clusters import Component, components
from camnorm.diagnosis.pixels.lines import lines_of, weak_lines
from camnorm.diagnosis.pixels.marks import Marks
from camnorm.diagnosis.pixels.rules import Plane, Verdicts, classify_plane
from camnorm.diagnosis.pixels.stencils import made_of_neighbours
from camnorm.diagnosis.pixels.tails import K
from camnorm.errors import Error
from camnorm.fourier.transforms import share, threads_for
from camnorm.sensor.pixelclasses import CODES, Bit, Cluster, ClusterKind, Line, code_of
from camnorm.sensor.pixelmap import PixelMap
from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.statistics.neighbours import NeighbourSums

__all__ = ["classify_pixels"]

# Pixels without any signal that are a region, and its least width: fewer are lines or clusters.
_REGION, _REGION_WIDTH = 64, 4

# Deviations of lines: of the mean, in scales; of sigma, lower by a tenth, or higher by a quarter.
_WEAK, _LOWER, _NOISIER = 3.0, 1 - 0.9 ** (2 / 3), 1.25 ** (2 / 3) - 1

# Rows that are classified in one go, those on either side that are looked at besides, and threads: each has
# a band in memory, and what is made of it.
_ROWS, _MARGIN, _MOST_THREADS = 256, 16, 8

# The largest value of a frame that nearly all frames have is that at which pixels saturate.
_SHARE = 0.9

_SIZES: dict[int, ClusterKind] = {2: "double", 3: "triple"}


def classify_pixels(sensor: Sensor, neighbours: NeighbourSums | None = None) -> PixelMap:
    """Find the bad pixels of a sensor, and say what is wrong with them.

    Parameters
    ----------
    sensor : Sensor
        The measurement, of at least two frames.
    neighbours : NeighbourSums, optional
        Sums of the differences between pixels and their neighbours, of some hundred frames: interpolated
        and copied pixels are found by them. By default those that were measured with the sensor, if any.

    Returns
    -------
    PixelMap
        Of colour frames, pixels are bad that are so in one plane.

    Raises
    ------
    TypeError
        It is no sensor.
    Error
        The sensor has less than two frames, or no pixel ever changes; or the sums are of frames of another
        shape.

    Notes
    -----
    Mean and sigma of every pixel are compared with the median of the 7 x 7 pixels around it, in units of the
    robust standard deviation of these differences nearby. Dust, illumination and steps between readout
    blocks are thus no bad pixels. docs/explanation/pixels.md has the rules and limits.

    Examples
    --------
    >>> import camnorm
    >>> pixels = camnorm.classify_pixels(camnorm.Sensor.load("sensor.h5"))
    >>> pixels.counts["hot"]
    0
    """
    sensor = as_sensor(sensor)
    if sensor.count < 2:
        frames = "1 frame" if sensor.count == 1 else f"{sensor.count} frames"
        raise Error(f"bad pixels cannot be found from {frames}: measure at least two")
    found = _classified(sensor)
    _mark_made(found, sensor, neighbours)
    regions = list(_regions(found))
    inside = np.ones(found.code.shape, np.bool_)
    for region in regions:
        inside.reshape(-1)[region.place] = False
        found.flags.reshape(-1)[region.place] |= np.uint32(Bit.GAP)
    lines = _lines(found, inside)
    clusters = list(_clusters(found, inside, lines))
    boxes = [_cluster("region", found, region) for region in regions]
    return PixelMap(found.flags, found.rows(), lines, [*boxes, *clusters], sensor.row_order, sensor.count)


def _classified(sensor: Sensor) -> Marks:
    """Classify all pixels by their mean and sigma, some rows at a time."""
    height, width = sensor.shape[:2]
    whole, changing = Marks((height, width)), False
    largest, integer = _largest(sensor), sensor.dtype.kind in "iu"
    lock = Lock()

    def take(_: int, number: int) -> None:
        nonlocal changing
        first, last = number * _ROWS, min((number + 1) * _ROWS, height)
        start = max(first - _MARGIN, 0)
        a, b = (half.rows(start, min(last + _MARGIN, height)) for half in sensor.halves)
        means, sigmas = a.mean_with(b), b.std_with(a)
        for mean, sigma in zip(_planes(means), _planes(sigmas), strict=True):
            if not sigma.any() and len(sensor.shape) == 3:
                continue  # an opaque alpha channel, say
            unit = 1.0 if integer else _unit(sigma)
            plane = Plane(mean * unit, sigma * unit, sensor.count, integer, largest * unit, height * width)
            found = classify_plane(plane)
            _mark_weak_lines(found, sigma > 0)
            with lock:
                changing |= bool(sigma.any())
                whole.add(found.marks, slice(first - start, last - start), first)

    share(-(-height // _ROWS), min(threads_for(None, sensor.shape), _MOST_THREADS), take)
    if not changing:
        raise Error("no pixel of the set ever changes: bad pixels cannot be found")
    return whole


def _planes(image: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """The planes of an image one by one."""
    if image.ndim == 2:
        return [image]
    return [np.ascontiguousarray(image[..., number]) for number in range(image.shape[2])]


def _unit(sigma: npt.NDArray[np.float64]) -> float:
    """A power of 2 by which sigma becomes about 1: float32 does not hold squares of very small numbers."""
    some = sigma[sigma > 0]
    usual = float(np.median(some)) if some.size else 1.0
    return float(np.ldexp(1.0, -int(np.frexp(usual)[1])))


def _largest(sensor: Sensor) -> float:
    """Where pixels saturate: the end of their type, or what most frames reach and none exceeds."""
    largest = float(np.iinfo(sensor.dtype).max) if sensor.dtype.kind in "iu" else np.inf
    values = sensor.frames["max"][sensor.frames["status"] == "accepted"]
    values = values[np.isfinite(values)]
    if values.size and np.count_nonzero(values == values.max()) >= max(2, _SHARE * values.size):
        largest = min(largest, float(values.max()))
    return largest


def _mark_weak_lines(found: Verdicts, valid: npt.NDArray[np.bool_]) -> None:
    """Give the pixels of lines the class of the line."""
    width = valid.shape[1]
    unit = max(found.sigma_scale, 1e-9)
    for name, residuals, sign, least in (
        ("hot", found.mean, 1, _WEAK),
        ("cold", found.mean, -1, _WEAK),
        ("noisy", found.sigma, 1, _NOISIER / unit),
        ("low_sigma", found.sigma, -1, _LOWER / unit),
    ):
        columns = [
            np.arange(start, stop) * width + at
            for at, start, stop in weak_lines(residuals, sign, valid, least)
        ]
        rows = [
            at * width + np.arange(start, stop)
            for at, start, stop in weak_lines(residuals.turned, sign, valid.T, least)
        ]
        for pixels in (*columns, *rows):
            pixels = pixels[valid.reshape(-1)[pixels]]
            found.mark(pixels, name, residuals.scaled.reshape(-1)[pixels], K)


def _mark_made(found: Marks, sensor: Sensor, neighbours: NeighbourSums | None) -> None:
    """Mark pixels that were made from their neighbours, and say from which."""
    if neighbours is None:
        if sensor.neighbours is None:
            return
        neighbours = sensor.neighbours[0] + sensor.neighbours[1]
    if tuple(neighbours.shape) != sensor.shape:
        raise Error(
            f"the sums of neighbours are of frames of shape {tuple(neighbours.shape)}, the sensor has "
            f"{sensor.shape}"
        )
    # Whatever else such a pixel shows comes from its neighbours; but zeros come from nowhere.
    silent = [code_of("constant"), code_of("dead")]
    for row in made_of_neighbours(neighbours):
        place = int(row["y"]) * found.code.shape[1] + int(row["x"])
        if found.code.reshape(-1)[place] not in silent:
            found.remark(
                place, str(row["class"]), float(row["value"]), float(row["limit"]), str(row["neighbours"])
            )


def _regions(found: Marks) -> Iterator[Component]:
    """Areas without any signal, such as margins that were filled with zeros."""
    constant = np.flatnonzero(found.code == code_of("constant"))
    if constant.size < _REGION:
        return
    for part in components(constant, found.code.shape[1]):
        if part.place.size >= _REGION and min(part.width, part.height) >= _REGION_WIDTH:
            yield part


def _lines(found: Marks, inside: npt.NDArray[np.bool_]) -> list[Line]:
    """Lines of bad pixels; what lies in their gaps is marked too."""
    place = np.flatnonzero((found.code != 0) & inside)
    lines = lines_of(place, found.code.reshape(-1)[place], inside)
    for line in lines:
        box = np.s_[line.y : line.y + line.height, line.x : line.x + line.width]
        y, x = np.nonzero(found.code[box] == 0)
        gaps = (y + line.y) * found.code.shape[1] + x + line.x
        found.mark(gaps, line.pixel_class, np.nan, K)
        found.flags[box] |= np.uint32(Bit.CLUSTER)
    return lines


def _clusters(found: Marks, inside: npt.NDArray[np.bool_], lines: list[Line]) -> Iterator[Cluster]:
    """Clusters of bad pixels beside lines and regions."""
    alone = (found.code != 0) & inside
    for line in lines:
        alone[line.y : line.y + line.height, line.x : line.x + line.width] = False
    for part in components(np.flatnonzero(alone), found.code.shape[1]):
        if part.place.size > 1:
            found.flags.reshape(-1)[part.place] |= np.uint32(Bit.CLUSTER)
            yield _cluster(_SIZES.get(part.place.size, "larger"), found, part)


def _cluster(kind: ClusterKind, found: Marks, part: Component) -> Cluster:
    (code, _), *_ = Counter(found.code.reshape(-1)[part.place].tolist()).most_common(1)
    return Cluster(kind, CODES[code], part.place.size, part.x, part.y, part.width, part.height)
