"""What is to be written and where: the jobs of a run, and all checks of their targets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from camnorm.errors import Error
from camnorm.io import (
    Chosen,
    InputFile,
    Protected,
    check_compression,
    check_shape,
    is_flipped,
    output_format,
    row_order_of,
    target_name,
)
from camnorm.io.base.catalogue import Catalogue

_DTYPES = tuple(np.dtype(name) for name in ("float32", "float16", "int16", "uint16", "int8", "uint8"))


@dataclass(frozen=True)
class Output:
    """What is written, of every file.

    Raises
    ------
    ValueError
        If the values do not go together.
    """

    dtype: np.dtype[Any]
    scale: Literal["auto"] | None
    bad_policy: Literal["neutral", "interpolate", "nan"]
    format: str
    compression: str
    sum_frames: bool
    virtual: bool
    overwrite: bool

    def __post_init__(self) -> None:
        dtype = self.dtype
        if dtype not in _DTYPES:
            raise ValueError(f"corrected files hold {', '.join(map(str, _DTYPES))}, not {dtype}")
        if self.bad_policy == "nan" and dtype.kind != "f":
            raise ValueError(f"bad pixels cannot be NaN in {dtype} files")
        if self.scale not in (None, "auto"):
            raise ValueError(f"scale must be 'auto' or None, not {self.scale!r}")
        if self.scale is not None and dtype != np.int16:
            raise ValueError(f"pixels are scaled to int16 only, not to {dtype}")
        if self.virtual and (self.format != "same" or self.compression != "none" or self.sum_frames):
            raise ValueError("manifests hold no pixels: they have no format, compression or sum")
        if self.sum_frames and dtype != np.float32:
            raise ValueError(f"sums are written as float32, not {dtype}")


@dataclass(frozen=True)
class Job:
    """A file to be corrected."""

    number: int
    """Place among the inputs."""
    path: Path
    target: Path


def output_folder(out_dir: str | os.PathLike[str]) -> Path:
    """The folder of results, without the name of one that may not exist and be left at once: ``new/..``."""
    folder = Path(out_dir)
    return Path(os.path.realpath(folder)) if ".." in folder.parts else folder


def schedule(
    files: Sequence[InputFile],
    catalogue: Catalogue,
    folder: Path,
    chosen: Chosen,
    output: Output,
    protected: Protected,
) -> list[Job]:
    """Where the result of each file goes; found out, and all conflicts, before the first frame is read.

    All files that are read are added to `protected`.
    """
    jobs: dict[Path, Job] = {}
    flipped = False
    left_out: dict[str, None] = {}
    for list_file in {name for file in files for name in file.lists}:
        protected.add(list_file)
    for number, (file, entry) in enumerate(zip(files, catalogue.scan(), strict=True)):
        protected.add(file.path)
        if chosen.without(number):
            continue
        name = file.relative
        if entry is not None:  # else the reason is reported when the file is to be corrected
            for used in entry.others:
                protected.add(used)
            if not chosen(number, entry.count):
                continue
            written = output_format(entry.format, output.format)
            check_compression(written, output.compression)
            if not output.virtual:
                check_shape(written, entry.shape)
                flipped |= is_flipped(entry.row_order, row_order_of(written))
            name = target_name(name, entry.format, output.format)
        if output.virtual:
            name = file.relative.with_name(f"{file.relative.name}.camnorm.json")
        target = folder / name
        if target in jobs:
            raise Error(f"{jobs[target].path} and {file.path} would both be written to {target}")
        jobs[target] = Job(number, file.path, target)
        if entry is not None:
            left_out.update(dict.fromkeys(entry.left_out))
    if not jobs:
        raise Error("no file could be corrected: none has frames that were selected")
    _check_targets(jobs, folder, protected, output.overwrite)
    if left_out:
        warnings.warn(
            f"the corrected files hold one image of each input file; the others are left out "
            f"({', '.join(left_out)}): correct them with another dataset= and sensor file",
            stacklevel=3,
        )
    if flipped:
        warnings.warn(
            "rows are turned upside down between MRC and TIFF, whose programs count them from opposite edges",
            stacklevel=3,
        )
    return list(jobs.values())


def _check_targets(targets: Iterable[Path], folder: Path, protected: Protected, overwrite: bool) -> None:
    """Raise Error if a result would lie outside of the folder, or replace an input or what may not be."""
    _check_inside(targets, folder)
    for target in targets:
        protected.check(target)
    there = [target for target in targets if os.path.lexists(target)]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise Error(f"{there[0]}: already exists{more}; use overwrite=True to replace it")


def _check_inside(targets: Iterable[Path], folder: Path) -> None:
    """Raise Error if a link leads a result out of the folder of results."""
    root = os.path.realpath(folder)
    for parent in {target.parent for target in targets}:
        place = os.path.realpath(parent)
        if os.path.commonpath([root, place]) != root:
            raise Error(f"{parent}: leads to {place}, outside of {folder}; results stay below that folder")
