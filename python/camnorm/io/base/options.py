"""How files are read, where they do not say so themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from camnorm.io.base.rows import RowOrder

__all__ = ["FourBit", "GainOperation", "Int16", "Mode0", "RawLayout", "ReadOptions"]

FourBit: TypeAlias = Literal["auto", "yes", "no"]
Mode0: TypeAlias = Literal["auto", "signed", "unsigned", "imod"]
Int16: TypeAlias = Literal["signed", "unsigned"]
GainOperation: TypeAlias = Literal["auto", "multiply", "divide"]


@dataclass(frozen=True)
class RawLayout:
    """What a file of bare pixels holds: frames one after another, in C order.

    Parameters
    ----------
    shape : tuple of int
        Shape of one frame, (y, x) or (y, x, c).
    dtype : numpy.dtype
        Of the pixels, with their byte order.
    offset : int
        Bytes before the first frame.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> RawLayout:
        """Read ``SHAPE:DTYPE[:OFFSET]``, as in ``4096x4096:uint16`` or ``512x512:>u2:1024``.

        Parameters
        ----------
        text : str
            SHAPE is rows x columns, or rows x columns x planes.

        Returns
        -------
        RawLayout

        Raises
        ------
        ValueError
            It is no such text.
        """
        form = re.fullmatch(r"(\d{1,18}(?:[x,]\d{1,18}){1,2}):([^:]+)(?::(\d{1,18}))?", text)
        try:
            if form is None:
                raise TypeError
            dtype = np.dtype(form[2])
        except TypeError:
            raise ValueError(
                f"{text!r} is not SHAPE:DTYPE[:OFFSET], as in 4096x4096:uint16 or 512x512:>u2:1024"
            ) from None
        shape = tuple(int(n) for n in re.split("[x,]", form[1]))
        return cls(shape, dtype, int(form[3] or 0))

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{'x'.join(map(str, self.shape))}:{self.dtype.str}:{self.offset}"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, where they do not say so themselves.

    Parameters
    ----------
    mrc_mode0 : {"auto", "signed", "unsigned", "imod"}
        Bytes of MRC mode 0: "auto" takes them for signed but where IMOD's stamp says otherwise. "imod": they
        are signed numbers that hold counts less 128, as IMOD stores them; 128 is added.
    tiff_4bit : {"auto", "yes", "no"}
        Whether bytes of TIFF files hold two pixels of 4 bits each: "auto" takes it from their size, as RELION
        does.
    eer_grouping : int, optional
        Raw frames of an EER file that are added up to one frame, 65535 at most. By default the power of two
        that is nearest to one electron a pixel by the dose that the files of the set give, or else 40.
    eer_sampling : {1, 2, 4}, optional
        Pixels of EER frames along one physical pixel; by default 1.
    dataset : str, optional
        Path of the images within an HDF5, NeXus or Zarr file. By default the only one that can be meant.
    raw : RawLayout, optional
        Take the files for bare pixels of this layout.
    gain : pathlib.Path, optional
        Gain reference: an image by which every frame is multiplied, as RELION, MotionCor and cisTEM do.
        Pixels where it is 0 are filled from their neighbours. Frames become float32. Of a gain of half or a
        quarter of their sampling each pixel counts for 2 x 2 or 4 x 4 of theirs; one of 2 or 4 times their
        sampling is averaged.
    defects : pathlib.Path, optional
        Defects that are filled from their neighbours: ``x y width height`` a line (RELION,
        MotionCor, Warp), a defect file of SerialEM or IMOD, or an image that is not 0 where a pixel is bad.
    row_order : {"bottom", "top"}, optional
        Row that comes first in the frames: those of files that have the other one first are flipped (MRC has
        the bottom row first, TIFF and DM the top row; all other formats are taken as stored). By default
        `measure` flips nothing unless the files differ, and `correct` and `verify` follow the sensor.
    follow_links : bool
        Read pixels also from files outside the folder of the HDF5 file, or outside the Zarr directory, that
        names them. By default such files are refused: whoever made a file could make it show any other.
    gain_rotate : {0, 1, 2, 3, "auto"}, optional
        Quarter turns by which the gain is rotated, as ``--gain_rot`` of RELION and ``-RotGain`` of MotionCor:
        counter-clockwise with row 0 at the bottom for MRC and at the top for TIFF frames, as IMOD draws them.
        In NumPy it is ``np.rot90(gain, -gain_rotate)``, for TIFF frames ``np.rot90(gain, gain_rotate)``. By
        default 0. With "auto", here or for `gain_flip`, `measure` finds rotation, flip and operation from
        some frames of the set, and keeps them in the sensor file.
    gain_flip : {0, 1, 2, "auto"}, optional
        After the rotation the gain is flipped upside down (1) or left to right (2), as ``--gain_flip`` of
        RELION and ``-FlipGain`` of MotionCor. By default 0.
    gain_operation : {"auto", "multiply", "divide"}
        "divide" multiplies frames by the gain's mean over the gain, for images of even light. "auto" does as
        RELION: it divides EER frames by files that are not ``.gain``, and multiplies all others.
    frames_dir : pathlib.Path, optional
        Where the files are that STAR and mdoc files name. By default they are looked for beside these, and
        from the directories above them.
    int16 : {"signed", "unsigned"}
        Integers of 16 bits that files call signed: "unsigned" takes them for counts of 0 to 65535, which some
        programs store so, and which are negative from 32768 on otherwise.
    """

    mrc_mode0: Mode0 = "auto"
    tiff_4bit: FourBit = "auto"
    eer_grouping: int | None = None
    eer_sampling: Literal[1, 2, 4] | None = None
    dataset: str | None = None
    raw: RawLayout | None = None
    gain: Path | None = None
    defects: Path | None = None
    row_order: RowOrder | None = None
    follow_links: bool = False
    gain_rotate: Literal[0, 1, 2, 3, "auto"] | None = None
    gain_flip: Literal[0, 1, 2, "auto"] | None = None
    gain_operation: GainOperation = "auto"
    frames_dir: Path | None = None
    int16: Int16 = "signed"

    def __post_init__(self) -> None:
        if self.mrc_mode0 not in get_args(Mode0):
            raise ValueError(
                f"mrc_mode0 must be 'auto', 'signed', 'unsigned' or 'imod', not {self.mrc_mode0!r}"
            )
        if self.int16 not in get_args(Int16):
            raise ValueError(f"int16 must be 'signed' or 'unsigned', not {self.int16!r}")
        if self.tiff_4bit not in ("auto", "yes", "no"):
            raise ValueError(f"tiff_4bit must be 'auto', 'yes' or 'no', not {self.tiff_4bit!r}")
        if self.row_order not in (None, "bottom", "top"):
            raise ValueError(f"row_order must be 'bottom' or 'top', not {self.row_order!r}")
        if self.eer_grouping is not None and self.eer_grouping < 1:
            raise ValueError(f"eer_grouping must be positive, not {self.eer_grouping}")
        if self.eer_grouping is not None and self.eer_grouping > 65535:
            raise ValueError(f"eer_grouping must be at most 65535, not {self.eer_grouping}")
        if self.eer_sampling not in (None, 1, 2, 4):
            raise ValueError(f"eer_sampling must be 1, 2 or 4, not {self.eer_sampling}")
        if self.gain_rotate not in (None, 0, 1, 2, 3, "auto"):
            raise ValueError(f"gain_rotate must be 0, 1, 2, 3 or 'auto', not {self.gain_rotate!r}")
        if self.gain_flip not in (None, 0, 1, 2, "auto"):
            raise ValueError(f"gain_flip must be 0, 1, 2 or 'auto', not {self.gain_flip!r}")
        if self.gain_operation not in ("auto", "multiply", "divide"):
            raise ValueError(
                f"gain_operation must be 'auto', 'multiply' or 'divide', not {self.gain_operation!r}"
            )

    @property
    def open_names(self) -> set[str]:
        """Names of the options that were not given, and are left to the files or to a sensor."""
        values = ((option.name, getattr(self, option.name), option.default) for option in fields(self))
        return {name for name, value, default in values if value == default}

    @property
    def gain_is_to_be_turned(self) -> bool:
        """Whether it is left to the frames which way the gain lies."""
        return "auto" in (self.gain_rotate, self.gain_flip)

    @property
    def without_references(self) -> ReadOptions:
        """The same without gain and defects: frames as the files hold them."""
        return replace(self, gain=None, gain_rotate=None, gain_flip=None, gain_operation="auto", defects=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the options, ready for JSON."""
        paths = {
            name: None if path is None else os.fspath(path.absolute())
            for name, path in (
                ("gain", self.gain),
                ("defects", self.defects),
                ("frames_dir", self.frames_dir),
            )
        }
        return {**vars(self), "raw": None if self.raw is None else str(self.raw), **paths}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReadOptions:
        """Make options of what `to_dict` returned.

        Parameters
        ----------
        values : mapping
            What is not in it has its default.

        Returns
        -------
        ReadOptions

        Raises
        ------
        ValueError
            There is no such option, or it cannot have this value.
        """
        unknown = sorted(values.keys() - {option.name for option in fields(cls)})
        if unknown:
            raise ValueError(f"there are no read options {', '.join(unknown)}")
        made: dict[str, Callable[[str], Any]] = {
            "raw": RawLayout.parse,
            "gain": Path,
            "defects": Path,
            "frames_dir": Path,
        }
        return cls(
            **{
                name: made[name](value) if name in made and value is not None else value
                for name, value in values.items()
            }
        )


DEFAULTS = ReadOptions()


def usual_operation(gain: Path | None, frames_format: str) -> Literal["multiply", "divide"]:
    """What RELION does with a gain: EER frames are divided by it unless its suffix is ``.gain``."""
    divides = frames_format == "EER" and gain is not None and gain.suffix.lower() != ".gain"
    return "divide" if divides else "multiply"
