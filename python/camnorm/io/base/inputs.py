"""What the user names as input, as a list of image files."""

from __future__ import annotations

import glob
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from camnorm.errors import Error
from camnorm.io.base.lists import (
    InputFile,
    below,
    check_found,
    expand_list_file,
    find,
    is_list,
    read_text,
)
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.registry import format_names, is_image_directory, is_image_name, is_result, linked_files

_PREVIEWS = (".jpg", ".jpeg", ".png")
# What EPU and Tomography 5 call a movie, and the images that they write beside the movies of a session.
_SESSION_MOVIE = re.compile(r"(FoilHole_.*_Data|Position)_.*_(Fractions|EER)\.", re.IGNORECASE)
_SESSION_OTHERS = {
    "gain reference": re.compile(".*gain", re.IGNORECASE),
    "summed exposure": re.compile("(FoilHole_.*_)?Data_", re.IGNORECASE),
    "tilt series": re.compile(r"Position_\d+(_\d+)*\.", re.IGNORECASE),
    "overview": re.compile(
        "GridSquare_|FoilHole_|Position_|Atlas|Tile_|SearchMap|Search_|Overview|Tracking", re.IGNORECASE
    ),
}
# The same exposure, as the camera's EER file and as fractions of it.
_EXPOSURE = re.compile(r"(.+)_(Fractions|EER)\.", re.IGNORECASE)


def expand_inputs(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], options: ReadOptions = DEFAULTS
) -> list[InputFile]:
    """List the image files that the user named.

    Parameters
    ----------
    inputs : path-like or iterable of path-like
        Each of them is one of

        - a file (a Zarr store counts as one). Results are written under its name;
        - a directory: all files in it and below whose suffix is that of an image format, sorted. Hidden
          files and directories are passed over, and so are sensor files. Links to directories are followed,
          into each directory once. Links that lead nowhere are listed if they bear the name of an image; a
          warning names those that seem to be directories. Previews (PNG and JPEG files that bear the name of
          another image beside them) are left out; where there are movies of EPU or Tomography 5
          (``FoilHole_*_Data_*_Fractions.*``, ``Position_*_EER.eer``) also their summed exposures, tilt
          series, overviews, gain references and all previews. A warning says so. Results keep the path below
          the directory;
        - a pattern of `glob` that is not the name of a file: all files that match, sorted; ``**`` also
          matches any number of directories, also through links. Results keep the path from the first wildcard
          on. If only STAR or mdoc files match, they are read as such;
        - ``@list.txt``: a text file with one input of these kinds a line. Blank lines and lines that start
          with ``#`` are passed over;
        - a STAR file (``.star``) with a column ``_rlnMicrographMovieName``, or else
          ``_rlnMicrographName``, or one that names such files, ``_rlnTomoTiltSeriesStarFile``. Each image
          is taken once. Results keep the path that the STAR file gives, as RELION does;
        - an mdoc file of SerialEM (``.mdoc``): the ``SubFramePath`` of each section, in order. The files
          are looked for beside the mdoc file, in the folders below that their paths end with, and from
          the directories above it in the same way. Results keep the path from there.

        What a list or a STAR file names is looked for from the current directory, then from the directory
        of the list or STAR file; what a STAR file names then also from the directories above it, of which
        one is that of the RELION project. `options` may say where the files of STAR and mdoc files are
        (`frames_dir`). A file that is not there is listed all the same, for the run to go on without it.

        Of what a directory or a pattern gives, files are left out whose frames another gives too: HDF5 files
        to which a master file links, and movies ``X_Fractions.*`` that are there as ``X_EER.eer`` too. A
        warning says so.
    options : ReadOptions
        How the files will be read. If as bare pixels, a directory stands for all files in it.

    Returns
    -------
    list of InputFile
        In the order of the inputs. A file named twice is listed twice.

    Raises
    ------
    Error
        There is no such file, or nothing in what was named; not a single file that STAR and mdoc files name.
    """
    single = isinstance(inputs, (str, os.PathLike)) or not isinstance(inputs, Iterable)
    named: list[Any] = [inputs] if single else list(inputs)  # type: ignore[arg-type]
    files = [file for name in named for file in _expand(_path_of(name), options)]
    if not files:
        raise Error("no input files were given")
    check_found(files)
    return files


def _path_of(name: object) -> str:
    """An input as a string; TypeError if it is no path, as arrays are not."""
    if isinstance(name, (str, os.PathLike)) and isinstance(path := os.fspath(name), str):
        return path
    arrays = (
        ": measure arrays with PixelMoments and Sensor.from_moments" if hasattr(name, "__array__") else ""
    )
    raise TypeError(f"inputs must be paths, not {type(name).__name__}{arrays}")


def _expand(name: str, options: ReadOptions, folder: Path | None = None) -> Iterator[InputFile]:
    """Files that one input names; one out of a list may be relative to the list's folder."""
    if not name:  # as a path it would be the current directory
        raise Error("the name of an input is empty")
    if name.startswith("@") and folder is None:
        yield from _expand_list(Path(name[1:]), options)
        return
    path = find(name, [] if folder is None else [folder])
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # not there, or no name that a file can have
        mode = 0
    if stat.S_ISDIR(mode) and (options.raw is not None or not is_image_directory(path)):
        yield from _expand_directory(path, options)
    elif mode:
        yield from expand_list_file(path, options.frames_dir) if is_list(path) else _expand_file(path)
    elif glob.has_magic(name):
        yield from _expand_pattern(name, folder, options)
    elif os.path.islink(path):
        raise Error(f"{name}: a link that leads nowhere ({os.readlink(path)})")
    else:
        raise Error(f"{name}: no such file")


def _expand_file(path: Path) -> list[InputFile]:
    return [InputFile(path, Path(path.name))]


def _expand_directory(directory: Path, options: ReadOptions) -> list[InputFile]:
    found: list[Path] = []
    broken: list[Path] = []
    for parent, folders, names in _walk(directory):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        if options.raw is None:
            stores = [folder for folder in folders if is_image_directory(Path(parent, folder))]
            found += [Path(parent, folder) for folder in stores]
            folders[:] = [folder for folder in folders if folder not in stores]
            # Of a link that leads nowhere only the name tells whether images are missed.
            broken += [path for path in paths if not path.suffix and _is_broken(path)]
            paths = [path for path in paths if is_image_name(path.name)]
        found += [path for path in paths if _may_be_read(path) and not is_result(path)]
    if not found:
        wanted = "files" if options.raw is not None else f"images in this directory ({format_names()})"
        raise Error(
            "; ".join(filter(None, [f"{directory}: no {wanted}", _of_broken_links(directory, broken)]))
        )
    if broken:
        warnings.warn(f"{directory}: {_of_broken_links(directory, broken)}", stacklevel=2)
    found.sort()
    if options.raw is None:
        found = _without_doubles(directory, _without_companions(directory, found), options)
    return [InputFile(path, path.relative_to(directory)) for path in found]


def _walk(directory: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as `os.walk` does, also through links, into what the caller leaves of the folders.

    No folder is entered twice, and none that holds the directory. Links come last: what lies in the directory
    is found by its own path.
    """
    root = os.path.join(os.path.realpath(directory), "")
    waiting = [directory]
    seen: set[tuple[int, int]] = set()
    while waiting:
        for parent, folders, names in os.walk(waiting.pop(0), onerror=_raise):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            yield parent, folders, names
            links = (path for folder in folders if (path := Path(parent, folder)).is_symlink())
            waiting += sorted(
                link for link in links if not root.startswith(os.path.join(os.path.realpath(link), ""))
            )


def _of_broken_links(directory: Path, broken: list[Path]) -> str:
    """A message on links that lead nowhere, if there are any."""
    if not broken:
        return ""
    first, several = min(broken), len(broken) > 1
    return (
        f"{len(broken)} link{'s' * several} {'lead' if several else 'leads'} nowhere "
        f"({first.relative_to(directory)} -> {os.readlink(first)}{', ...' * several})"
    )


def _is_broken(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere: missing images are reported."""
    return path.is_file() or _is_broken(path)


def _raise(error: OSError) -> None:
    raise error


def _without_companions(directory: Path, found: list[Path]) -> list[Path]:
    """Leave out images that only accompany others, and say so: exposures would count twice."""
    images = [path for path in found if path.suffix.lower() not in _PREVIEWS]
    names = {path.parent / name for path in images for name in _names_of_previews(path.name)}
    session = any(_SESSION_MOVIE.match(path.name) for path in images)

    def kind(path: Path) -> str | None:
        if path.suffix.lower() in _PREVIEWS:
            return "preview" if session or path.with_suffix("") in names else None
        if not session or _SESSION_MOVIE.match(path.name):
            return None
        return next((kind for kind, name in _SESSION_OTHERS.items() if name.match(path.name)), None)

    left_out = {path: what for path in found if (what := kind(path))}
    if left_out:
        counts = Counter(left_out.values())
        numbers = ", ".join(
            f"{n} {what}{'s' * (n > 1 and not what.endswith('s'))}" for what, n in counts.items()
        )
        first = next(iter(left_out)).relative_to(directory)
        warnings.warn(
            f"{directory}: {numbers} beside the {'movies' if session else 'images'} left out "
            f"({first}{', ...' * (len(left_out) > 1)})",
            stacklevel=2,
        )
    return [path for path in found if path not in left_out]


def exposure_of(path: Path) -> str | None:
    """Name of the exposure of which a file is the EER movie or the fractions; not of its preview or text."""
    match = _EXPOSURE.match(path.name)
    if match is None or path.suffix.lower() in _PREVIEWS or not is_image_name(path.name):
        return None
    return match[1].lower()


def _without_doubles(where: str | os.PathLike[str], found: list[Path], options: ReadOptions) -> list[Path]:
    """Leave out files whose frames another of them gives too, and say so."""
    linked: dict[Path, Path] = {}
    for path in found:
        linked |= dict.fromkeys(linked_files(path, options), path)
    movies = {path: (path.parent, name) for path in found if (name := exposure_of(path))}
    exposures: dict[tuple[Path, str], Path] = {}
    for path in sorted(movies, key=lambda path: not path.name.lower().endswith(".eer")):  # the camera's own
        exposures.setdefault(movies[path], path)

    def first_of(path: Path) -> Path:
        first = exposures[movies[path]] if path in movies else path
        return linked.get(path.resolve(), first) if linked else first

    doubles = {path: first for path in found if (first := first_of(path)) != path}
    if doubles:
        path, first = next(iter(doubles.items()))
        warnings.warn(
            f"{os.fspath(where)}: {len(doubles)} file{'s' * (len(doubles) > 1)} left out whose frames "
            f"another gives too ({path.name}: {first.name}{', ...' * (len(doubles) > 1)})",
            stacklevel=2,
        )
    return [path for path in found if path not in doubles]


def _names_of_previews(name: str) -> Iterator[str]:
    """What previews of an image may be called, without their suffix."""
    yield name
    while is_image_name(name):  # twice for a.mrc.gz
        name = Path(name).stem
        yield name


def _expand_pattern(pattern: str, folder: Path | None, options: ReadOptions) -> Iterator[InputFile]:
    for root in (Path(), folder or Path()):
        found = sorted(root / name for name in glob.glob(pattern, root_dir=root, recursive=True))
        files = [path for path in found if _may_be_read(path) or is_image_directory(path)]
        if "**" in pattern:  # which goes round and round where a link leads upwards
            files = _each_folder_once(files)
        if not files:
            continue
        lists = [path for path in files if options.raw is None and is_list(path)]
        if len(lists) == len(files):
            for path in lists:
                yield from expand_list_file(path, options.frames_dir)
            return
        if lists:
            warnings.warn(
                f"{pattern}: {len(lists)} STAR or mdoc file{'s' * (len(lists) > 1)} beside images left out "
                f"({lists[0].name}{', ...' * (len(lists) > 1)}); name these by a pattern of their own",
                stacklevel=2,
            )
        files = [path for path in files if path not in set(lists)]
        if options.raw is None:
            files = _without_doubles(pattern, files, options)
        parts = Path(pattern).parts
        fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
        base = root.joinpath(*parts[:fixed])
        yield from (InputFile(path, below(path.relative_to(base))) for path in files)
        return
    raise Error(f"{pattern}: no file matches this pattern")


def _each_folder_once(files: list[Path]) -> list[Path]:
    """Files without those that another path, through a link to a folder, leads to as well."""
    places: dict[Path, str] = {}
    first: dict[tuple[str, str], Path] = {}
    for path in sorted(files, key=lambda path: len(path.parts)):
        if path.parent not in places:
            places[path.parent] = os.path.realpath(path.parent)
        first.setdefault((places[path.parent], path.name), path)
    kept = set(first.values())
    return [path for path in files if path in kept]


def _expand_list(path: Path, options: ReadOptions) -> Iterator[InputFile]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise Error(f"{path}: this list names no files")
    for name in names:
        for file in _expand(name, options, path.parent):
            yield replace(file, lists=(path, *file.lists))
