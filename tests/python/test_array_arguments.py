"""Every public function that takes an array: no mask is lost, and what is no array is refused plainly."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

import camnorm
from camnorm import Correction, NeighbourSums, PixelMap, PixelMoments, PixelResponse
from image_sets import sensor_of
from public_names import PUBLIC

SHAPE = (12, 16)
RNG = np.random.default_rng(1)
FRAME = RNG.integers(0, 250, SHAPE).astype(np.uint8)
IMAGE = FRAME + 1.0
COLOUR = np.stack([FRAME, FRAME[::-1], FRAME[:, ::-1]], axis=-1)
INNER = np.arange(SHAPE[1]) % 5 + 0 * FRAME == 2
HALF = np.fft.rfft2(IMAGE)
CORRECTION = Correction(IMAGE, IMAGE)
SENSOR = sensor_of([np.stack([COLOUR, COLOUR[::-1], COLOUR[:, ::-1], COLOUR[::-1, ::-1]])])
TABLE = sensor_of([RNG.integers(0, 250, (6, *SHAPE)).astype(np.uint8)]).frames
CORNER = (slice(0, 4), slice(0, 4))


def moments() -> PixelMoments:
    m = PixelMoments(SHAPE, np.uint8)
    m.add(np.stack([FRAME, FRAME[::-1]]))
    return m


def neighbours() -> NeighbourSums:
    n = NeighbourSums(SHAPE, np.uint8)
    n.add(np.stack([FRAME, FRAME[::-1]]))
    return n


def response() -> PixelResponse:
    r = PixelResponse(SHAPE, np.uint8)
    r.add(np.stack([FRAME, FRAME[::-1]]), np.ones(2))
    return r


def colour_moments() -> PixelMoments:
    m = PixelMoments(COLOUR.shape, np.float64)
    m.add(np.stack([COLOUR, COLOUR + 1.0]))
    return m


def with_state(sums: Any, name: str, value: Any) -> object:
    return type(sums).from_state({**sums.state(), name: value})


class Taker(NamedTuple):
    """An argument that is an array."""

    name: str
    """As messages have it."""
    array: np.ndarray
    """What it may be."""
    call: Callable[[Any], object]
    """A call with it."""
    converts: bool = False
    """Whether lists and the like are taken, since any numbers will do."""


# By the public name and the parameter, and what else tells them apart.
TAKERS: dict[str, Taker] = {
    "PixelMoments.add:frames": Taker("frames", FRAME, lambda a: moments().add(a)),
    "PixelMoments.add:frames, stack": Taker("frames", FRAME[None], lambda a: moments().add(a)),
    "PixelMoments.add_stacks:stacks": Taker(
        "frames", FRAME[None], lambda a: moments().add_stacks([FRAME[None], a], threads=1)
    ),
    "PixelMoments.subtract:frames": Taker("frames", FRAME, lambda a: moments().subtract(a)),
    "PixelMoments.from_state:state": Taker(
        "sum", moments().state()["sum"], lambda a: with_state(moments(), "sum", a), True
    ),
    "NeighbourSums.add:frames": Taker("frames", FRAME, lambda a: neighbours().add(a)),
    "NeighbourSums.add_stacks:stacks": Taker(
        "frames", FRAME[None], lambda a: neighbours().add_stacks([FRAME[None], a], threads=1)
    ),
    "NeighbourSums.subtract:frames": Taker("frames", FRAME, lambda a: neighbours().subtract(a)),
    "NeighbourSums.from_state:state": Taker(
        "sum", neighbours().state()["sum"], lambda a: with_state(neighbours(), "sum", a), True
    ),
    "PixelMap.from_mask:bad": Taker("bad", FRAME > 200, PixelMap.from_mask),
    "PixelResponse.from_state:state": Taker(
        "sum_of_products",
        response().state()["sum_of_products"],
        lambda a: with_state(response(), "sum_of_products", a),
        True,
    ),
    "PixelResponse.add:frames": Taker("frames", FRAME, lambda a: response().add(a, np.ones(1))),
    "PixelResponse.add:exposures": Taker(
        "exposures", np.ones(2), lambda a: response().add(np.stack([FRAME, FRAME]), a)
    ),
    "PixelResponse.subtract:frames": Taker("frames", FRAME, lambda a: response().subtract(a, np.ones(1))),
    "PixelResponse.subtract:exposures": Taker(
        "exposures", np.ones(2), lambda a: response().subtract(np.stack([FRAME, FRAME]), a)
    ),
    "frame_statistics:frames": Taker("frames", FRAME, camnorm.frame_statistics),
    "Correction:mean": Taker("mean", IMAGE, lambda a: Correction(a, IMAGE)),
    "Correction:sigma": Taker("sigma", IMAGE, lambda a: Correction(IMAGE, a)),
    "Correction:bad": Taker("bad", FRAME > 200, lambda a: Correction(IMAGE, IMAGE, bad=a)),
    "Correction:target_mean": Taker(
        "target_mean", np.arange(1.0, 4), lambda a: Correction(COLOUR + 1.0, COLOUR + 1.0, a), True
    ),
    "Correction:target_sigma": Taker(
        "target_sigma", np.arange(1.0, 4), lambda a: Correction(COLOUR + 1.0, COLOUR + 1.0, 1, a), True
    ),
    "Correction.from_moments:target_mean": Taker(
        "target_mean",
        np.arange(1.0, 4),
        lambda a: Correction.from_moments(colour_moments(), target_mean=a),
        True,
    ),
    "Correction.from_moments:target_sigma": Taker(
        "target_sigma",
        np.arange(1.0, 4),
        lambda a: Correction.from_moments(colour_moments(), target_sigma=a),
        True,
    ),
    "Correction.apply:frames": Taker("frames", FRAME, CORRECTION.apply),
    "Correction.apply:frames, rows": Taker("frames", FRAME[:2], lambda a: CORRECTION.apply(a, first_row=1)),
    "Correction.apply:out": Taker("out", np.empty(SHAPE), lambda a: CORRECTION.apply(FRAME, out=a)),
    "Correction.inverse:frames": Taker("frames", FRAME, CORRECTION.inverse),
    "Correction.inverse:out": Taker("out", np.empty(SHAPE), lambda a: CORRECTION.inverse(FRAME, out=a)),
    "Sensor.correction:target_mean": Taker(
        "target_mean", np.arange(1.0, 4), lambda a: SENSOR.correction(a), True
    ),
    "Sensor.correction:target_mean, gain": Taker(
        "target_mean", np.arange(1.0, 4), lambda a: SENSOR.correction(a, mode="gain"), True
    ),
    "Sensor.correction:target_sigma": Taker(
        "target_sigma", np.arange(1.0, 4), lambda a: SENSOR.correction(1.0, a), True
    ),
    "correct:target_mean": Taker(
        "target_mean", np.arange(1.0, 4), lambda a: corrected_files(target_mean=a), True
    ),
    "correct:target_sigma": Taker(
        "target_sigma", np.arange(1.0, 4), lambda a: corrected_files(target_sigma=a), True
    ),
    "frc:a": Taker("a", IMAGE, lambda a: camnorm.frc(a, np.eye(*SHAPE))),
    "frc:b": Taker("b", FRAME, lambda a: camnorm.frc(np.eye(*SHAPE), a, crop=None)),
    "ring_correlation:fa": Taker("fa", HALF, lambda a: camnorm.ring_correlation(a, HALF, SHAPE)),
    "ring_correlation:fb": Taker("fb", HALF, lambda a: camnorm.ring_correlation(HALF, a, SHAPE)),
    "amplitude_spectrum:image": Taker("image", IMAGE, camnorm.amplitude_spectrum),
    "ring_average:spectrum": Taker("spectrum", IMAGE, camnorm.ring_average),
    "Convergence.predicted:frames": Taker(
        "frames", np.arange(1.0, 5), lambda a: camnorm.frames_needed(SENSOR).predicted(a), True
    ),
    "FrameSource.read:out": Taker("out", FRAME[None].copy(), lambda a: reading("read", 0, 1, a)),
    "FrameSource.read_rows:out": Taker("out", FRAME[:2].copy(), lambda a: reading("read_rows", 0, 0, a)),
    "screening.modes:frames": Taker("frames", TABLE, lambda a: camnorm.screening.modes(a, np.dtype("u1"))),
    "simulate.Camera:gain": Taker("gain", IMAGE, lambda a: camera(gain=a), True),
    "simulate.Camera:offset": Taker("offset", IMAGE, lambda a: camera(offset=a), True),
    "simulate.Camera:read_noise": Taker("read_noise", IMAGE, lambda a: camera(read_noise=a), True),
    "simulate.Camera:concealed": Taker("concealed", FRAME > 200, lambda a: camera(concealed=a), True),
    "simulate.Camera:copied": Taker("left", INNER, lambda a: camera(copied={"left": a}), True),
    "simulate.Camera:defects": Taker("dust", FRAME > 200, lambda a: camera(defects={"dust": a}), True),
    "simulate.Camera.white:mean": Taker(
        "mean", IMAGE, lambda a: camnorm.simulate.Camera.white(SHAPE, mean=a).frames(1), True
    ),
    "simulate.Camera.white:std": Taker(
        "std", IMAGE, lambda a: camnorm.simulate.Camera.white(SHAPE, std=a).frames(1), True
    ),
    "plot.image_panel:image": Taker(
        "image", IMAGE, lambda a: camnorm.plot.image_panel(Figure().subplots(), a)
    ),
    "plot.frc_figure:images": Taker(
        "image", IMAGE, lambda a: camnorm.plot.frc_figure({"x": camnorm.frc(IMAGE, IMAGE)}, images={"y": a})
    ),
    **{
        f"plot.correction_figure:{name}": Taker(name, IMAGE, lambda a, name=name: before_and_after(name, a))
        for name in ("raw", "mean", "sigma", "corrected")
    },
    **{
        f"plot.sensor_figure:{name}": Taker(name, array, lambda a, name=name: of_sensor(name, a))
        for name, array in {
            "mean": IMAGE,
            "sigma": IMAGE,
            "frame_means": np.arange(5.0),
            "frame_stds": np.arange(5.0),
            "rejected": np.arange(5) > 3,
        }.items()
    },
}

# Results of other functions, which nobody makes of arrays of his own.
RESULTS = {"Changes", "FixedPattern", "GainCheck", "PixelMap", "RingCorrelation", "Sensor"}
# Parameters with arrays in mappings of another annotation.
OTHERS = {"NeighbourSums.from_state:state", "PixelMoments.from_state:state", "PixelResponse.from_state:state"}
ARRAYS = re.compile("NDArray|ArrayLike|GivenTarget|ndarray")


def camera(**images: Any) -> np.ndarray:
    return camnorm.simulate.Camera(SHAPE, np.uint8, **images).frames(1)


def before_and_after(name: str, image: Any) -> object:
    images = {"raw": IMAGE, "mean": IMAGE, "sigma": IMAGE, "corrected": IMAGE, name: image}
    return camnorm.plot.correction_figure(**images, patch=CORNER)


def of_sensor(name: str, array: Any) -> object:
    five = np.arange(5.0)
    images = {"mean": IMAGE, "sigma": IMAGE, "frame_means": five, "frame_stds": five, name: array}
    return camnorm.plot.sensor_figure(**images)


_FILES: dict[str, Path] = {}


@pytest.fixture(autouse=True, scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    _FILES.update(frames=folder / "frames.npy", colour=folder / "colour.npy", out=folder / "out")
    np.save(_FILES["frames"], FRAME[None])
    np.save(_FILES["colour"], COLOUR[None])


def reading(method: str, *arguments: Any) -> object:
    with camnorm.open_frames(_FILES["frames"]) as frames:
        getattr(frames, method)(*arguments)
    return arguments[-1]


def corrected_files(**targets: Any) -> object:
    (path,) = camnorm.correct([_FILES["colour"]], SENSOR, _FILES["out"], overwrite=True, **targets)
    with camnorm.open_frames(path) as frames:
        return frames.read(0)


def array_parameters() -> Iterator[str]:
    """Public functions and methods, with their parameters that are arrays."""
    for name, thing in PUBLIC.items():
        if isinstance(thing, (ModuleType, property)) or name in RESULTS:
            continue
        try:
            signature = inspect.signature(thing)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        for parameter in signature.parameters.values():
            if ARRAYS.search(str(parameter.annotation)):
                yield f"{name}:{parameter.name}"


def test_every_array_of_the_package_is_tested() -> None:
    """A new public function with an array needs a line in `TAKERS`."""
    assert {key.partition(",")[0] for key in TAKERS} == set(array_parameters()) | OTHERS


# Masks


def masked(array: np.ndarray) -> np.ma.MaskedArray[Any, Any]:
    mask = np.zeros(array.shape, bool)
    mask.flat[1] = True
    return np.ma.masked_array(array, mask)


@pytest.mark.parametrize("key", TAKERS)
def test_masked_arrays_are_refused(key: str) -> None:
    name, array, call, _ = TAKERS[key]
    with pytest.raises(TypeError, match=rf"^{name} must not have masked pixels: fill them with numpy\.ma"):
        call(masked(array))


@pytest.mark.parametrize("key", TAKERS)
def test_masks_of_nothing_do_no_harm(key: str) -> None:
    _, array, call, _ = TAKERS[key]
    call(np.ma.masked_array(array))
    call(np.ma.masked_array(array, np.zeros(array.shape, bool)))


def test_masked_frames_leave_no_trace() -> None:
    m = moments()
    with pytest.raises(TypeError):
        m.add(masked(FRAME))
    assert m.count == 2
    assert np.array_equal(m.mean(), (FRAME + FRAME[::-1].astype(float)) / 2)


# What is like an array


class OnlyArray:
    """What numpy can convert, and no more."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array if dtype is None else self._array.astype(dtype)


class Labelled(OnlyArray):
    """With the attributes of an array, as those of xarray, pandas and torch have them."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def dtype(self) -> str:
        return f"library.{self._array.dtype}"

    @property
    def size(self) -> int:
        return self._array.size

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, key: Any) -> Labelled:
        return type(self)(self._array[key])


_NUMBERS = count()


def stored(array: np.ndarray) -> h5py.Dataset:
    return h5py.File(f"{next(_NUMBERS)}", "w", driver="core", backing_store=False).create_dataset(
        "x", data=array
    )


LIKE: dict[str, Callable[[np.ndarray], Any]] = {
    "list": np.ndarray.tolist,
    "tuple": lambda array: tuple(array.tolist()),
    "OnlyArray": OnlyArray,
    "Labelled": Labelled,
    "Dataset": stored,
}


def same(one: object, other: object) -> bool:
    """Whether results of two calls are the same, as far as they are arrays or have states."""
    if isinstance(one, Correction) and isinstance(other, Correction):
        return same(one.mean, other.mean) and one.target_mean == other.target_mean
    if isinstance(one, (PixelMoments, PixelResponse)) and isinstance(other, (PixelMoments, PixelResponse)):
        return all(map(same, one.state().values(), other.state().values()))
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else type(one) is type(other)


@pytest.mark.parametrize("kind", LIKE)
@pytest.mark.parametrize("key", TAKERS)
def test_what_is_like_an_array(key: str, kind: str) -> None:
    """Taken for the array that it is, or refused in a sentence that says how to make one of it."""
    name, array, call, converts = TAKERS[key]
    if array.dtype.names is not None and kind == "Dataset":
        array = array[["mean", "std"]].copy()  # a file has no Python objects
    like = LIKE[kind](array)
    if converts:
        assert same(call(like), call(array))
        return
    word = type(like).__name__
    with pytest.raises(
        TypeError, match=rf"^{name} must be a numpy array, not {word}: convert it with numpy\.asarray$"
    ):
        call(like)


@pytest.mark.parametrize("nothing", ["text", 2.5, object(), np.ndarray, {}])
@pytest.mark.parametrize("key", [key for key, taker in TAKERS.items() if not taker.converts])
def test_what_is_no_array(key: str, nothing: object) -> None:
    name, _, call, _ = TAKERS[key]
    with pytest.raises(TypeError, match=rf"^{name} must be a numpy array, not {type(nothing).__name__}$"):
        call(nothing)


@pytest.mark.parametrize("key", [key for key, taker in TAKERS.items() if not taker.converts])
def test_subclasses_are_arrays(key: str) -> None:
    class Named(np.ndarray):
        pass

    _, array, call, _ = TAKERS[key]
    call(array.copy().view(Named))


# Arrays in place of files and sensors

STACK = np.stack([FRAME, FRAME])
WITH_SENSOR: dict[str, Callable[[Any], object]] = {
    "check": camnorm.check,
    "frames_needed": camnorm.frames_needed,
    "fixed_pattern": camnorm.fixed_pattern,
    "findings": camnorm.screening.findings,
    "merge": SENSOR.merge,
    "subtract": SENSOR.subtract,
}
LOADING: dict[str, Callable[[Any], object]] = {
    "correct": lambda sensor: camnorm.correct([_FILES["frames"]], sensor, _FILES["out"]),
    "verify": lambda sensor: camnorm.verify([_FILES["frames"]], sensor),
}


@pytest.mark.parametrize("name", [*WITH_SENSOR, *LOADING])
def test_no_sensor(name: str) -> None:
    call = {**WITH_SENSOR, **LOADING}[name]
    of_moments = ": make one of PixelMoments with Sensor.from_moments"
    for given, word, advice in (
        (STACK, "ndarray", of_moments),
        (moments(), "PixelMoments", of_moments),
        (3, "int", ""),
    ):
        with pytest.raises(TypeError, match=f"^sensor must be a Sensor, not {word}{advice}$"):
            call(given)
    if name in WITH_SENSOR:
        with pytest.raises(TypeError, match=r"^sensor must be a Sensor, not str: load it with Sensor\.load$"):
            call("sensor.h5")


@pytest.mark.parametrize(
    "call",
    [
        camnorm.measure,
        lambda inputs: list(camnorm.measure_groups(inputs)),
        lambda inputs: camnorm.correct(inputs, SENSOR, _FILES["out"]),
        camnorm.verify,
    ],
)
def test_arrays_are_no_files(call: Callable[[Any], object]) -> None:
    advice = r": measure arrays with PixelMoments and Sensor\.from_moments"
    for inputs in (STACK, [STACK], [OnlyArray(STACK)], OnlyArray(STACK)):
        word = "OnlyArray" if "OnlyArray" in f"{inputs}" else "ndarray"
        with pytest.raises(TypeError, match=f"^inputs must be paths, not {word}{advice}$"):
            call(inputs)
    with pytest.raises(TypeError, match=r"^inputs must be paths, not int$"):
        call(3)
    with pytest.raises(TypeError, match=r"^path must be a path, not ndarray$"):
        camnorm.open_frames(STACK)  # type: ignore[arg-type]
