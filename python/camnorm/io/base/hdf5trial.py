"""What the helper process does: it opens datasets and reads attributes, and tells that it has survived."""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import h5py

from camnorm.io.base.hdf5guard import MAX_LINKS, located, open_object
from camnorm.io.base.hdf5helper import helper

_MAX_FRAME = 2**30  # bytes of a frame that is read for a trial


def main() -> None:
    """Try what is asked for: a line of standard input tells file and dataset, a byte that it has survived.

    The first byte tells that it has begun.
    """
    helper.wanted = False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(1, b".")
    for line in sys.stdin.buffer:
        with suppress(Exception):  # is met again where it can be told
            _try(*json.loads(line))
        os.write(1, b".")


def _try(file: str, name: str, attribute: str | None = None, follow: bool = False) -> None:
    with h5py.File(file, "r") as h5:
        if attribute is not None:
            h5[name].attrs.get(attribute)
            return
        dataset = open_object(Path(file), h5, name, follow)
        h5py.h5o.get_info(dataset.id)
        _check_sources(Path(file), dataset, follow)
        several = len(dataset.shape) > 2
        if dataset.nbytes // (max(1, len(dataset)) if several else 1) <= _MAX_FRAME:
            dataset[: 1 if several else None]


def _check_sources(path: Path, dataset: h5py.Dataset, follow: bool, depth: int = 0) -> None:
    """FormatError if a source of a virtual dataset, or one of theirs, lies in a file that may not be read."""
    if not dataset.is_virtual or depth > MAX_LINKS:
        return
    for file_name, name in {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}:
        parent = Path(dataset.file.filename)
        file = parent if file_name == "." else located(file_name, parent, "HDF5_VDS_PREFIX")
        if file is not None:
            with suppress(KeyError, OSError), h5py.File(file, "r") as h5:
                _check_sources(path, open_object(path, h5, name, follow), follow, depth + 1)
