"""Which frames are measured: those of a selection, of a list, or of rows of a frame table."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from camnorm.apriori import check_orientation, check_references, orient
from camnorm.io import Chosen, Protected, Selection, expand_inputs
from camnorm.io.base.catalogue import Catalogue
from camnorm.io.base.copies import Copy, describe_copies, without_copies
from camnorm.io.base.selection import choose_frames
from camnorm.io.base.settling import settle
from camnorm.io.base.unused import check_use
from camnorm.measurement.settings import Settings
from camnorm.sensor.framelist import FrameList
from camnorm.sensor.table import NAME_ERRORS

__all__ = ["Inputs", "Source", "find_source"]

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class Source:
    """Which frames are measured."""

    catalogue: Catalogue
    """The files."""
    selection: Selection
    chosen: Chosen
    halves: Sequence[npt.NDArray[np.str_]] | None = None
    """Of each file, the halves of the chosen frames; None: the files are split."""
    listed: Mapping[str, str] = field(default_factory=dict)
    """What the provenance keeps of a list of frames."""
    protected: Protected = field(default_factory=Protected)
    """What no result may replace."""
    copies: Sequence[Copy] = ()
    """Files that were left out, since others have the same movies."""

    @classmethod
    def of_files(cls, catalogue: Catalogue, selection: Selection, settings: Settings) -> Source:
        """Frames of files that a selection takes."""
        return cls(catalogue, selection, choose_frames(catalogue, selection, settings.progress))

    @property
    def files(self) -> list[Path]:
        """The files, in their order."""
        return self.catalogue.paths

    @classmethod
    def of_list(cls, listed: FrameList, catalogue: Catalogue) -> Source:
        """Frames that a list accepts, of the files that it names."""
        told = {"path": str(listed.path.absolute()), "digest": listed.digest}
        return cls(catalogue, Selection(), listed.chosen, listed.halves, told)

    @classmethod
    def of_rows(cls, rows: npt.NDArray[np.void], whole: Catalogue, settings: Settings) -> Source:
        """Frames of some rows of a frame table, of files that a catalogue holds."""
        found: dict[str, set[int]] = {}
        for file, index in rows[["file", "index"]].tolist():
            found.setdefault(file, set()).add(index)
        frames: list[Sequence[int] | None] = [sorted(indices) for indices in found.values()]
        digest = hashlib.sha256(repr((list(found), frames)).encode(errors=NAME_ERRORS)).hexdigest()
        return cls(
            Catalogue(list(found), whole.options, settings.threads),
            Selection(),
            Chosen(Selection(), frames),
            listed={"digest": digest},
        )


def find_source(
    inputs: Inputs | None,
    frames_list: str | os.PathLike[str] | None,
    selection: Selection,
    settings: Settings,
) -> tuple[Source, Settings]:
    """Find the frames that the arguments of `measure` choose, and the files that no result may replace.

    Parameters
    ----------
    inputs, frames_list
        As of `measure`.
    selection : Selection
        Which frames of the inputs are taken.
    settings : Settings
        How files are read, as far as it was given.

    Returns
    -------
    tuple of Source and Settings
        The frames, and how they are read: by one value for the set of what was not given.

    Raises
    ------
    Error, ValueError, OSError
        As of `measure`.
    """
    check_references(settings.options)
    found = None if inputs is None else expand_inputs(inputs, settings.options)
    files = None if found is None else [file.path for file in found]
    used = {name for file in found or () for name in file.lists} | {
        settings.options.gain,
        settings.options.defects,
    }
    protected = Protected(path for path in (*(files or ()), *used, frames_list) if path is not None)
    if frames_list is None:
        if files is None:
            raise ValueError("there must be inputs, or a frames_list")
        whole, copies = without_copies(Catalogue(files, settings.options, settings.threads))
        if copies:
            warnings.warn(describe_copies(copies), stacklevel=3)
        check_use(settings.options, found or (), whole)
        catalogue, settings = _settle(whole, settings)
        source = Source.of_files(catalogue, selection, settings)
        return replace(source, protected=protected, copies=copies), settings
    if selection != Selection():
        raise ValueError(
            "frames_list tells which frames are taken; frames, every, max_frames do not go with it"
        )
    listed = FrameList(frames_list)
    whole = Catalogue(listed.files, settings.options, settings.threads)
    check_use(settings.options, (), whole)
    catalogue, settings = _settle(whole, settings)
    listed.check(catalogue, files)
    for file in listed.files:
        protected.add(file)
    return replace(Source.of_list(listed, catalogue), protected=protected), settings


def _settle(catalogue: Catalogue, settings: Settings) -> tuple[Catalogue, Settings]:
    """Choose the options that were not given, and check that a gain suits the files."""
    options, reasons = orient(catalogue.paths, catalogue.options)
    settled = settle(catalogue.settled(options))
    check_orientation(catalogue.paths, settled.options)
    return catalogue.settled(settled.options), replace(
        settings, options=settled.options, reasons={**settled.reasons, **reasons}
    )
