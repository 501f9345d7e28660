"""The camera: the truth about each pixel, and the frames that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm import _core
from camnorm.demo.simulate.defects import SIDES, Neighbours, dust
from camnorm.demo.simulate.scenes import Landscape, Particles, Scene

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

_DTYPES = tuple(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "float32", "float64"))


class Camera:
    """A camera whose truth is known, and the frames that it takes.

    Any frame can be made alone, in any order and in any thread: frame `index` depends on the camera's
    truth, its seed and the index only.

    Parameters
    ----------
    shape : tuple of int
        Frame shape (y, x).
    dtype : dtype, default uint16
        Of the frames: 8- or 16-bit integers, which are rounded half to even and saturate, float32 or
        float64.
    gain : float or (y, x) array, default 1
        Digital numbers an electron.
    offset : float or (y, x) array, default 0
        Output without light, in digital numbers.
    read_noise : float or (y, x) array, default 0
        Standard deviation of the noise that does not depend on light, in digital numbers.
    level : float, default 0
        Mean light at exposure 1 where the scene is 1, in electrons a pixel.
    exposure_spread : float, default 0
        Exposures are uniform between 1 - spread and 1 + spread, one a frame.
    scene : Scene, optional
        What the camera looks at; a homogeneous field by default.
    concealed : (y, x) bool array, optional
        Dead pixels that the vendor replaced by the mean of the nearest live pixels, by city-block
        distance: left and right of a dead column, the four neighbours of a single dead pixel.
    copied : mapping of str to (y, x) bool array, optional
        Dead pixels that the vendor replaced by a copy of one neighbour: "left", "right", "up" or "down".
        Copies are made after pixels were concealed by means.
    defects : mapping of str to (y, x) bool array, optional
        Where planted defects are, by name. It is a record for whoever compares: frames do not depend
        on it.
    seed : int, default 0
        Of the frames; not negative.

    Attributes
    ----------
    gain, offset, read_noise : ndarray
        float64 (y, x), read-only.
    concealed : ndarray
        bool (y, x), read-only.
    copied : mapping
        As given.
    defects : mapping
        As given.

    Raises
    ------
    TypeError
        A dtype that frames cannot have.
    ValueError
        An array that does not fit the shape, a negative noise or light, no live pixel at all, a copy of a
        neighbour that has no such name or lies outside the frame.

    Examples
    --------
    >>> import camnorm
    >>> camera = camnorm.simulate.Camera.white((64, 64), mean=1000, std=20)
    >>> camera.frames(10).shape
    (10, 64, 64)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: DTypeLike = np.uint16,
        *,
        gain: ArrayLike = 1.0,
        offset: ArrayLike = 0.0,
        read_noise: ArrayLike = 0.0,
        level: float = 0.0,
        exposure_spread: float = 0.0,
        scene: Scene | None = None,
        concealed: ArrayLike | None = None,
        copied: Mapping[str, ArrayLike] | None = None,
        defects: Mapping[str, NDArray[np.bool_]] | None = None,
        seed: int = 0,
    ) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"shape must be two positive numbers (y, x), not {shape!r}")
        self._shape = (int(shape[0]), int(shape[1]))
        self._dtype = np.dtype(dtype)
        if self._dtype not in _DTYPES:
            raise TypeError(
                f"a camera takes 8- and 16-bit integer, float32 and float64 frames, not {self._dtype}"
            )
        if level < 0:
            raise ValueError(f"level must not be negative, not {level}")
        if not 0 <= exposure_spread <= 1:
            raise ValueError(f"exposure_spread must lie between 0 and 1, not {exposure_spread}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, not {seed}")
        self.gain = self._image("gain", gain, np.float64)
        self.offset = self._image("offset", offset, np.float64)
        self.read_noise = self._image("read_noise", read_noise, np.float64)
        if (self.read_noise < 0).any():
            raise ValueError("read_noise must not be negative")
        self.concealed = self._image("concealed", False if concealed is None else concealed, np.bool_)
        unknown = set(copied or {}) - set(SIDES)
        if unknown:
            raise ValueError(f"copied names neighbours left, right, up or down, not {sorted(unknown)[0]!r}")
        self.copied: Mapping[str, NDArray[np.bool_]] = MappingProxyType(
            {side: self._image(side, mask, np.bool_) for side, mask in (copied or {}).items()}
        )
        self.defects: Mapping[str, NDArray[np.bool_]] = MappingProxyType(
            {name: self._image(name, mask, np.bool_) for name, mask in (defects or {}).items()}
        )
        self._level = float(level)
        self._exposure_spread = float(exposure_spread)
        self._scene = scene
        self._seed = int(seed)
        self._neighbours = Neighbours(self.concealed, self.copied)
        self._gain32 = self.gain.astype(np.float32)
        self._offset32 = self.offset.astype(np.float32)
        self._shot_variance = np.square(self._gain32)
        self._read_variance = np.square(self.read_noise).astype(np.float32)

    def _image(self, name: str, value: ArrayLike, dtype: type[Any]) -> NDArray[Any]:
        """The value as a read-only image of the camera's shape."""
        _core.check_unmasked(value, name)
        array = np.asarray(value, dtype)
        if array.ndim != 0 and array.shape != self._shape:
            raise ValueError(f"{name} has shape {array.shape}, the camera {self._shape}")
        image = np.array(np.broadcast_to(array, self._shape))
        image.flags.writeable = False
        return image

    @classmethod
    def white(
        cls,
        shape: tuple[int, int],
        dtype: DTypeLike = np.uint16,
        *,
        mean: ArrayLike = 1000.0,
        std: ArrayLike = 20.0,
        seed: int = 0,
    ) -> Camera:
        """A camera that gives white noise of the given mean and standard deviation.

        Parameters
        ----------
        shape : tuple of int
            Frame shape (y, x).
        dtype : dtype, default uint16
            Of the frames.
        mean, std : float or (y, x) array
            Of every pixel vector, in digital numbers, before rounding to integers.
        seed : int, default 0
            Of the frames.

        Returns
        -------
        Camera
        """
        for name, value in (("mean", mean), ("std", std)):
            _core.check_unmasked(value, name)
        return cls(shape, dtype, offset=mean, read_noise=std, seed=seed)

    @classmethod
    def electron(cls, shape: tuple[int, int] = (1024, 1024), seed: int = 0) -> Camera:
        """A 16-bit direct electron detector that looks at ribosomes, after the paper's Fig. 1.

        In the lower left corner stand a bundle of 16 dead columns and one dead row, elsewhere single
        dead columns and pixels, all concealed by the vendor. Besides: hot pixels, dust that takes
        light, gain and offset of each pixel, row and column, and readout lines of periods 4 and 8/3
        pixels, which stand at 0.5 and 0.75 of the Nyquist frequency.

        Parameters
        ----------
        shape : tuple of int, default (1024, 1024)
            Frame shape (y, x); at least (64, 64).
        seed : int, default 0
            Of the camera's truth and of its frames.

        Returns
        -------
        Camera
            Its `defects` are named "bundle", "columns", "line", "pixels", "hot" and "dust".
        """
        if min(shape) < 64:
            raise ValueError(f"shape must be at least (64, 64) to hold the defects, not {shape!r}")
        rng = _truth_rng(seed)
        height, width = shape
        electron = 25.0  # digital numbers
        grains = dust(shape, 14, rng)
        gain = electron * (1.0 + 0.025 * rng.standard_normal(shape)) * (1.0 - grains)

        x = np.arange(width)
        lines = 0.45 * np.cos(2 * np.pi * x / 4) + 0.45 * np.cos(2 * np.pi * x * 3 / 8 + 1.0)
        offset = electron * (
            2.1 * rng.standard_normal(shape)
            + 1.1 * rng.standard_normal(width)
            + 0.6 * rng.standard_normal((height, 1))
            + lines
        )
        read_noise = np.full(shape, electron * 1.0)
        hot = rng.random(shape) < 3e-4
        offset[hot] += electron * rng.uniform(20.0, 80.0, int(hot.sum()))
        read_noise[hot] = electron * rng.uniform(8.0, 20.0, int(hot.sum()))

        bundle, columns, line = (np.zeros(shape, np.bool_) for _ in range(3))
        # Sixteen columns, two or three live ones between each and the next.
        bundle[:, width // 32 + np.cumsum(rng.integers(3, 5, 16))] = True
        for column in rng.integers(width // 8, width, 6):
            columns[rng.integers(height) :, column] = True
        line[height - max(height // 50, 4)] = True
        pixels = rng.random(shape) < 1e-4
        return cls(
            shape,
            np.uint16,
            gain=gain,
            offset=offset,
            read_noise=read_noise,
            level=44.0,
            exposure_spread=0.03,
            scene=Particles(shape, size=48, count=max(1, height * width // 6000), contrast=0.16, rng=rng),
            concealed=bundle | columns | line | pixels,
            defects={
                "bundle": bundle,
                "columns": columns,
                "line": line,
                "pixels": pixels,
                "hot": hot,
                "dust": grains > 0.02,
            },
            seed=seed,
        )

    @classmethod
    def bayer(cls, shape: tuple[int, int] = (600, 672), seed: int = 0) -> Camera:
        """An 8-bit camera behind a Bayer filter that looks at landscapes, after the paper's Fig. 3.

        Its frames are not demosaiced: every 2x2 pixels are red, green, green and blue. A block of
        3x5 pixels responds poorly and a smaller spot less than it should; the column amplifiers, four
        in turn, differ in gain, which gives a peak at 0.5 of the Nyquist frequency.

        Parameters
        ----------
        shape : tuple of int, default (600, 672)
            Frame shape (y, x); at least (64, 64).
        seed : int, default 0
            Of the camera's truth and of its frames.

        Returns
        -------
        Camera
            Its `defects` are named "block" and "spot".
        """
        if min(shape) < 64:
            raise ValueError(f"shape must be at least (64, 64) to hold the defects, not {shape!r}")
        rng = _truth_rng(seed)
        height, width = shape
        level = 1e4
        gain = np.empty(shape)
        gain[0::2, 0::2], gain[0::2, 1::2], gain[1::2, 0::2], gain[1::2, 1::2] = 88.0, 120.0, 120.0, 70.0
        gain *= 1.0 + 0.01 * rng.standard_normal(shape)
        gain *= 1.0 + 0.01 * np.cos(2 * np.pi * np.arange(width) / 4 + 0.5)
        block, spot = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        row, column = height * 9 // 20, width * 9 // 20
        block[row : row + 3, column : column + 5] = True
        spot[row + 16 : row + 18, column + 21 : column + 23] = True
        gain[block] *= 0.25
        gain[spot] *= 0.6
        return cls(
            shape,
            np.uint8,
            gain=gain / level,
            offset=2.0,
            read_noise=0.5,
            level=level,
            exposure_spread=0.2,
            scene=Landscape(shape, contrast=0.2),
            defects={"block": block, "spot": spot},
            seed=seed,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Frame shape (y, x)."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the frames."""
        return self._dtype

    def scene(self, index: int) -> NDArray[np.float32]:
        """The light of one frame without any noise.

        Parameters
        ----------
        index : int
            Of the frame, from 0.

        Returns
        -------
        ndarray
            float32 (y, x), electrons a pixel.
        """
        return self._light(self._rng(index), 1.0)

    def frame(self, index: int, *, exposure: float = 1.0) -> NDArray[Any]:
        """One raw frame.

        Parameters
        ----------
        index : int
            Of the frame, from 0.
        exposure : float, default 1
            Multiplies the light; 0 makes a frame without light.

        Returns
        -------
        ndarray
            (y, x) of the camera's dtype, the same for every call.
        """
        rng = self._rng(index)
        light = self._light(rng, exposure)
        noise = rng.standard_normal(self._shape, dtype=np.float32)
        # Shot and read noise in one draw: their variances add.
        deviation = light * self._shot_variance
        deviation += self._read_variance
        noise *= np.sqrt(deviation, out=deviation)
        light *= self._gain32
        light += self._offset32
        light += noise
        self._neighbours.average(light)
        self._neighbours.copy(light)
        if self._dtype.kind == "f":
            return light.astype(self._dtype)
        limits = np.iinfo(self._dtype)
        np.clip(np.rint(light, out=light), limits.min, limits.max, out=light)
        return light.astype(self._dtype)

    def frames(self, n: int, start: int = 0) -> NDArray[Any]:
        """Consecutive raw frames.

        Parameters
        ----------
        n : int
            Number of frames.
        start : int, default 0
            Index of the first.

        Returns
        -------
        ndarray
            (n, y, x) of the camera's dtype.
        """
        stack = np.empty((n, *self._shape), self._dtype)
        for i in range(n):
            stack[i] = self.frame(start + i)
        return stack

    def expected_mean(self) -> NDArray[np.float64]:
        """What the mean image tends to with the number of frames.

        Returns
        -------
        ndarray
            float64 (y, x), digital numbers. Saturation is left out.
        """
        scene_mean = 1.0 if self._scene is None else self._scene.mean
        mean: NDArray[np.float64] = self.gain * (self._level * scene_mean) + self.offset
        self._neighbours.average(mean)
        self._neighbours.copy(mean)
        return mean

    def expected_std(self) -> NDArray[np.float64]:
        """What the sigma image tends to with the number of frames.

        Returns
        -------
        ndarray
            float64 (y, x), digital numbers, the variance 1/12 of rounding included for integer
            dtypes. Saturation is left out. The pixels from which a concealed pixel is averaged are
            taken to see the same light: their sigma is exact for a homogeneous scene, slightly too
            large for others.

        Notes
        -----
        A pixel replaced by the mean of n equal pixels whose outputs have the correlation ρ keeps the
        fraction sqrt((1 + (n - 1)·ρ) / n) of its sigma; here ρ is the share of the light's own
        variance.
        """
        mean, variance = (1.0, 0.0) if self._scene is None else (self._scene.mean, self._scene.variance)
        exposure = 1.0 + self._exposure_spread**2 / 3
        light_variance = self._level**2 * (exposure * (variance + mean**2) - mean**2)
        response = self.gain.copy()
        noise = self.gain**2 * (self._level * mean) + self.read_noise**2
        self._neighbours.average(response)
        self._neighbours.average(noise)
        noise[self.concealed] /= self._neighbours.counts
        rounding = 0.0 if self._dtype.kind == "f" else 1 / 12
        std = np.asarray(np.sqrt(response**2 * light_variance + noise + rounding))
        self._neighbours.copy(std)
        return std

    def _rng(self, index: int) -> np.random.Generator:
        if index < 0:
            raise ValueError(f"index must not be negative, not {index}")
        return np.random.default_rng([self._seed, index])

    def _light(self, rng: np.random.Generator, exposure: float) -> NDArray[np.float32]:
        if self._exposure_spread:
            exposure *= 1.0 + self._exposure_spread * rng.uniform(-1.0, 1.0)
        light = np.ones(self._shape, np.float32) if self._scene is None else self._scene.draw(rng)
        if light.shape != self._shape:
            raise ValueError(f"the scene has shape {light.shape}, the camera {self._shape}")
        light *= np.float32(self._level * exposure)
        return light


def _truth_rng(seed: int) -> np.random.Generator:
    # Frames are drawn from [seed, index]. The third word keeps the truth apart from them: trailing
    # zeros do not change a seed, other words do.
    return np.random.default_rng([seed, 0, 1])
