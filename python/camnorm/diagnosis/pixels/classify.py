"""The class of every pixel of a sensor, and the lines and clusters of bad ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.pixels.clusters import Component, components
from camnorm.diagnosis.pixels.lines import lines_of, weak_lines
from camnorm.diagnosis.pixels.rules import Plane, Verdicts, classify_plane
from camnorm.diagnosis.pixels.stencils import made_of_neighbours
from camnorm.diagnosis.pixels.tails import K
from camnorm.errors import Error
from camnorm.limits import usable_threads
from camnorm.sensor.pixelclasses import CODES, NEIGHBOURS, Bit, Cluster, ClusterKind, Line, PixelRows, code_of
from camnorm.sensor.pixelmap import PixelMap
from camnorm.sensor.sensor import Sensor, as_sensor
from camnorm.statistics.neighbours import NeighbourSums

__all__ = ["classify_pixels"]

# Pixels without any signal that are a region, and its least width: fewer are lines or clusters.
_REGION, _REGION_WIDTH = 64, 4

# Deviations of lines: of the mean, in scales; of sigma, lower by a tenth, or higher by a quarter.
_WEAK, _LOWER, _NOISIER = 3.0, 1 - 0.9 ** (2 / 3), 1.25 ** (2 / 3) - 1

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
    found, sigma_good = _classified(sensor)
    if not sigma_good.any():
        raise Error("no pixel of the set ever changes: bad pixels cannot be found")
    kinds = np.zeros(found.code.size, np.uint8)
    _mark_made(found, kinds, sensor, neighbours)
    regions = list(_regions(found))
    inside = np.ones(found.code.shape, np.bool_)
    for region in regions:
        inside.reshape(-1)[region.place] = False
        found.flags.reshape(-1)[region.place] |= np.uint32(Bit.GAP)
    lines = _lines(found, inside)
    clusters = list(_clusters(found, inside, lines))
    place = np.flatnonzero(found.code).astype(np.int64)
    rows = PixelRows(
        place,
        found.code.reshape(-1)[place],
        found.value.reshape(-1)[place],
        found.limit.reshape(-1)[place],
        kinds[place],
    )
    boxes = [_cluster("region", found, region) for region in regions]
    return PixelMap(found.flags, rows, lines, [*boxes, *clusters], sensor.row_order, sensor.count)


def _classified(sensor: Sensor) -> tuple[Verdicts, npt.NDArray[np.bool_]]:
    """The verdicts on all planes in one, and pixels that ever change."""
    threads = usable_threads(None)
    largest, integer = _largest(sensor), sensor.dtype.kind in "iu"
    whole: Verdicts | None = None
    changing = np.zeros(sensor.shape[:2], np.bool_)
    for number in range(1 if len(sensor.shape) == 2 else sensor.shape[2]):
        mean, sigma = (
            image if image.ndim == 2 else np.ascontiguousarray(image[..., number])
            for image in (sensor.mean, sensor.sigma)
        )
        if not sigma.any() and len(sensor.shape) == 3:
            continue  # an opaque alpha channel, say
        changing |= sigma > 0
        found = classify_plane(Plane(mean, sigma, sensor.count, integer, largest, threads))
        _mark_weak_lines(found, sigma > 0)
        if whole is None:
            whole = found
            continue
        new = (whole.code == 0) & (found.code != 0)
        for name in ("code", "value", "limit"):
            getattr(whole, name)[new] = getattr(found, name)[new]
        np.bitwise_or(whole.flags, found.flags, out=whole.flags)
    if whole is None:
        raise Error("no pixel of the set ever changes: bad pixels cannot be found")
    return whole, changing


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


def _mark_made(
    found: Verdicts, kinds: npt.NDArray[np.uint8], sensor: Sensor, neighbours: NeighbourSums | None
) -> None:
    """Mark pixels that were made from their neighbours, and say from which."""
    if neighbours is None:
        halves = getattr(sensor, "neighbours", None)
        if halves is None:
            return
        neighbours = halves[0] + halves[1]
    if tuple(neighbours.shape[:2]) != found.code.shape:
        raise Error(
            f"the sums of neighbours are of frames of shape {tuple(neighbours.shape)}, the sensor has "
            f"{tuple(sensor.shape)}"
        )
    made = made_of_neighbours(neighbours)
    place = made["y"].astype(np.int64) * found.code.shape[1] + made["x"]
    # Whatever else such a pixel shows comes from its neighbours; but zeros come from nowhere.
    keep = ~np.isin(found.code.reshape(-1)[place], [code_of("constant"), code_of("dead")])
    for name in ("interpolated", "copied"):
        chosen = keep & (made["class"] == name)
        for row, at in zip(made[chosen], place[chosen], strict=True):
            found.code.reshape(-1)[at] = 0
            found.mark(np.array([at]), name, float(row["value"]), float(row["limit"]))
            kinds[at] = NEIGHBOURS.index(str(row["neighbours"]))


def _regions(found: Verdicts) -> Iterator[Component]:
    """Areas without any signal, such as margins that were filled with zeros."""
    constant = np.flatnonzero(found.code == code_of("constant"))
    if constant.size < _REGION:
        return
    for part in components(constant, found.code.shape[1]):
        if part.place.size >= _REGION and min(part.width, part.height) >= _REGION_WIDTH:
            yield part


def _lines(found: Verdicts, inside: npt.NDArray[np.bool_]) -> list[Line]:
    """Lines of bad pixels; what lies in their gaps is marked too."""
    place = np.flatnonzero((found.code != 0) & inside)
    lines = lines_of(place, found.code.reshape(-1)[place], inside)
    for line in lines:
        box = np.s_[line.y : line.y + line.height, line.x : line.x + line.width]
        numbers = np.arange(found.code.size).reshape(found.code.shape)[box].reshape(-1)
        gaps = numbers[(found.code[box] == 0).reshape(-1)]
        found.mark(gaps, line.pixel_class, np.float32(np.nan), K)
        found.flags[box] |= np.uint32(Bit.CLUSTER)
    return lines


def _clusters(found: Verdicts, inside: npt.NDArray[np.bool_], lines: list[Line]) -> Iterator[Cluster]:
    """Clusters of bad pixels beside lines and regions."""
    alone = (found.code != 0) & inside
    for line in lines:
        alone[line.y : line.y + line.height, line.x : line.x + line.width] = False
    for part in components(np.flatnonzero(alone), found.code.shape[1]):
        if part.place.size > 1:
            found.flags.reshape(-1)[part.place] |= np.uint32(Bit.CLUSTER)
            yield _cluster(_SIZES.get(part.place.size, "larger"), found, part)


def _cluster(kind: ClusterKind, found: Verdicts, part: Component) -> Cluster:
    (code, _), *_ = Counter(found.code.reshape(-1)[part.place].tolist()).most_common(1)
    return Cluster(kind, CODES[code], part.place.size, part.x, part.y, part.width, part.height)
