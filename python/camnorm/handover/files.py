"""Files for other programs: written atomically, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.io import Protected, atomic_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_back", "save", "save_mrc"]


def save(path: Path, content: Any, overwrite: bool, protected: Protected) -> None:
    """Write a file in the format of its suffix.

    Parameters
    ----------
    path : pathlib.Path
        .mrc, .npy, .nxs or .txt.
    content : ndarray, str or mapping
        An image, a text, or the datasets and attributes of an HDF5 file by their paths.
    overwrite : bool
        Whether it may replace a file.
    protected : Protected
        Files that it never replaces.

    Raises
    ------
    Error, OSError
        The file exists, or cannot be written.
    """
    if path.suffix == ".mrc":
        save_mrc(path, content, overwrite, protected)
        return
    with atomic_target(path, overwrite, protected) as target:
        if isinstance(content, str):
            target.write_text(content, encoding="utf-8")
        elif isinstance(content, Mapping):
            _write_hdf5(target, content)
        else:
            with open(target, "wb") as file:
                np.save(file, content)


def save_mrc(path: Path, image: NDArray[Any], overwrite: bool, protected: Protected) -> None:
    """Write one image: floats as mode 2, bytes as mode 0, which is all that MotionCor3 reads."""
    import mrcfile

    stored = image.astype(np.float32) if image.dtype.kind == "f" else image.astype(np.int8)
    with atomic_target(path, overwrite, protected) as target, mrcfile.new(target, overwrite=True) as mrc:
        mrc.set_data(np.ascontiguousarray(stored))
        mrc.add_label("camnorm")


def _write_hdf5(target: Path, content: Mapping[str, Any]) -> None:
    """Write datasets by their paths; ``path@name`` is an attribute of one, or of a group."""
    import h5py

    with h5py.File(target, "w", locking=False) as file:
        for path, value in content.items():
            if "@" not in path:
                compression = "gzip" if np.ndim(value) else None
                file.create_dataset(path, data=value, compression=compression)
        for path, value in content.items():
            place, at, name = path.partition("@")
            if at:
                file[place].attrs[name] = value


def read_back(path: Path) -> Any:
    """Read a file as other programs do, without camnorm's readers."""
    if path.suffix == ".mrc":
        import mrcfile

        with mrcfile.open(path) as mrc:
            return np.array(mrc.data)
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".txt":
        return path.read_text(encoding="utf-8")
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, locking=False) as file:
        file.visititems(
            lambda name, thing: found.update({name: thing[()]}) if isinstance(thing, h5py.Dataset) else None
        )
    return found
