"""What a program that takes a gain reference is to camnorm, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from camnorm.io import RowOrder

__all__ = ["Calibration", "Export", "Files", "Movies", "Program", "dark_and_gain", "only_gain"]

# Contents of files by their names: an image, a text, or the datasets of an HDF5 file by their paths.
Files: TypeAlias = "dict[str, NDArray[Any] | str | dict[str, Any]]"


@dataclass(frozen=True)
class Movies:
    """Movies that the files are for.

    Attributes
    ----------
    name : str
        Of one of them, as a command line names it.
    format : str
        "MRC", "TIFF", "EER"...
    shape : tuple of int
        Of a frame as the program gets it, (y, x).
    row_order : {"bottom", "top"}, optional
        Row of the picture that comes first in the file.
    sampling : int
        Pixels along a physical pixel, of EER frames.
    grouping : int
        Raw frames summed into one, of EER frames.
    """

    name: str
    format: str
    shape: tuple[int, int]
    row_order: RowOrder | None
    sampling: int = 1
    grouping: int = 1


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images of a sensor for movies of one kind.

    Attributes
    ----------
    movies : Movies
        What it is for.
    gain : ndarray of float64, shape (y, x)
        By which frames are multiplied; 0 where a pixel is bad.
    dark : ndarray of float64, shape (y, x), optional
        Which is subtracted from frames first; 0 where a pixel is bad.
    bad : ndarray of bool, shape (y, x)
        Bad pixels.
    flags : ndarray of uint32, shape (y, x)
        Why they are bad, in bits of NeXus' ``pixel_mask``.
    error : ndarray of float64, shape (y, x)
        Standard error of the gain, as a fraction of it; 0 where a pixel is bad.
    level : float
        Mean of the frames after the correction, I0.
    exact : bool
        Whether (frame - dark) * gain is Eq. (2).
    notes : tuple of str
        Sentences on how the images were made.
    """

    movies: Movies
    gain: NDArray[np.float64]
    dark: NDArray[np.float64] | None
    bad: NDArray[np.bool_]
    flags: NDArray[np.uint32]
    error: NDArray[np.float64]
    level: float
    exact: bool
    notes: tuple[str, ...] = ()

    def upside_down(self) -> Calibration:
        """The same with the last row first."""
        dark = None if self.dark is None else self.dark[::-1]
        images = {name: getattr(self, name)[::-1] for name in ("gain", "bad", "flags", "error")}
        return replace(self, dark=dark, **images)


class Program(ABC):
    """A program, and how its files are written and used: one instance in a module of its own.

    Attributes
    ----------
    name : str
        As ``program`` and ``--for`` have it.
    title : str
        As its users call it.
    flips_tiff : bool
        Whether it holds TIFF movies with the bottom row first. Images in MRC files must have their rows in
        the order in which the program holds the movie.
    takes_dark : bool
        Whether it subtracts a dark.
    tested : str
        How its conventions were found.
    formats : tuple of str
        Formats of movies that it reads; none of them if any will do.
    most_sampling : int
        Pixels along a physical pixel with which it renders EER frames, at most.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    flips_tiff: ClassVar[bool] = True
    takes_dark: ClassVar[bool] = False
    tested: ClassVar[str]
    formats: ClassVar[tuple[str, ...]] = ("MRC", "TIFF", "EER")
    most_sampling: ClassVar[int] = 4

    def flips(self, movies: Movies) -> bool:
        """Whether it holds these movies with the last row of their files first."""
        return self.flips_tiff and movies.format == "TIFF"

    @abstractmethod
    def files(self, calibration: Calibration) -> Files:
        """Make the files, whose images have their rows as the program holds the movie."""

    @abstractmethod
    def applied(
        self, frame: NDArray[np.float64], files: Mapping[str, Any], calibration: Calibration
    ) -> NDArray[np.float64]:
        """What the program makes of a frame with the files, as its source or manual says.

        Pixels that it takes from their neighbours are NaN.
        """

    def rescales(self, calibration: Calibration) -> bool:
        """Whether it scales all pixels by one factor besides."""
        return False

    @abstractmethod
    def usage(self, calibration: Calibration, folder: Path) -> list[str]:
        """Lines on how the files are used: commands, or the fields of a form."""

    def remarks(self, calibration: Calibration) -> list[str]:
        """Sentences on what the user of this program should know."""
        return []


@dataclass(frozen=True)
class Export:
    """Files that were written for another program; `export` makes it.

    Attributes
    ----------
    program : str
        Name of the program.
    files : tuple of pathlib.Path
        All files that were written.
    command : str
        Command line, or the fields of a form, that uses them.
    exact : bool
        Whether the program then does what `correct` does, Eq. (2).
    approximation : str
        What it does, in a sentence.
    spread : float
        Standard deviation over the pixels of what remains of their sigma, as a fraction: 0 if it is exact.
    gain_error : float
        Root mean square of the standard error of the gain, as a fraction.
    bad_pixels : int
        Number of pixels that the program is to conceal.
    deviation : float
        Largest difference that the check after writing found, as a fraction of the values.
    notes : tuple of str
        Sentences on what to know besides.
    """

    program: str
    files: tuple[Path, ...]
    command: str
    exact: bool
    approximation: str
    spread: float
    gain_error: float
    bad_pixels: int
    deviation: float
    notes: tuple[str, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**vars(self), "files": [str(path) for path in self.files], "notes": list(self.notes)}


def only_gain(frame: NDArray[np.float64], gain: NDArray[Any]) -> NDArray[np.float64]:
    """Multiply by a gain, and conceal pixels where it is 0."""
    return np.where(gain != 0, frame * gain.astype(np.float64), np.nan)


def dark_and_gain(
    frame: NDArray[np.float64], dark: NDArray[Any] | None, gain: NDArray[Any]
) -> NDArray[np.float64]:
    """Subtract a dark, if there is one, and multiply by a gain."""
    subtracted = frame if dark is None else frame - dark.astype(np.float64)
    return np.asarray(subtracted * gain.astype(np.float64))
