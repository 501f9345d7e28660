"""What the user names as input, as a list of image files."""

from __future__ import annotations

import glob
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from camnorm.errors import Error
from camnorm.io.base.options import DEFAULTS, ReadOptions
from camnorm.io.base.registry import format_names, is_image_directory, is_image_name, is_result, linked_files

_STAR_COLUMNS = ("_rlnMicrographMovieName", "_rlnMicrographName")
# Tomography of RELION 5: a STAR file of such files, one a tilt series.
_STAR_SERIES = "_rlnTomoTiltSeriesStarFile"
_STAR_WORD = re.compile(r"""'([^']*)'(?=\s|$)|"([^"]*)"(?=\s|$)|(#.*)|(\S+)""")
# A movie that stands alone in its row may lie in a folder named like this too.
_STAR_BLOCK = re.compile(r"data_[^./]*")

_MDOC_FRAMES = re.compile(r"^\s*SubFramePath\s*=\s*(.*\S)", re.MULTILINE)

_PREVIEWS = (".jpg", ".jpeg", ".png")
# What EPU calls a movie, and the images that it writes beside the movies of a session.
_EPU_MOVIE = re.compile(r"(FoilHole_.*_Data_.*)_(Fractions|EER)\.", re.IGNORECASE)
_EPU_OTHERS = {
    "gain reference": re.compile(".*gain", re.IGNORECASE),
    "summed exposure": re.compile("(FoilHole_.*_)?Data_", re.IGNORECASE),
    "overview": re.compile("GridSquare_|FoilHole_|Atlas|Tile_", re.IGNORECASE),
}


@dataclass(frozen=True)
class InputFile:
    """One image file among the inputs."""

    path: Path
    """Where it is."""
    relative: Path
    """Where a result that is made from it goes, below the folder of results: never ``..`` or absolute."""
    lists: tuple[Path, ...] = ()
    """Lists, STAR and mdoc files that named it."""


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
          files and directories are passed over, and so are sensor files; links to directories are not
          followed, links that lead nowhere are listed. Previews (PNG and JPEG files that bear the name of
          another image beside them) are left out; where there are movies of EPU
          (``FoilHole_*_Data_*_Fractions.*``, ``*_EER.eer``) also its summed exposures, overviews, gain
          references and all previews. A warning says so. Results keep the path below the directory;
        - a pattern of `glob` that is not the name of a file: all files that match, sorted; ``**`` also
          matches any number of directories. Results keep the path from the first wildcard on;
        - ``@list.txt``: a text file with one input of these kinds a line. Blank lines and lines that start
          with ``#`` are passed over;
        - a STAR file (``.star``) with a column ``_rlnMicrographMovieName``, or else
          ``_rlnMicrographName``, or one that names such files, ``_rlnTomoTiltSeriesStarFile``. Each image
          is taken once. Results keep the path that the STAR file gives, as RELION does;
        - an mdoc file of SerialEM (``.mdoc``): the ``SubFramePath`` of each section, in order. The files
          are looked for beside the mdoc file, and in the folders below that their paths end with. Results
          keep the path from there.

        What a list or a STAR file names is looked for from the current directory, then from the directory
        of the list or STAR file; what a STAR file names then also from the directories above it, of which
        one is that of the RELION project.

        Of what a directory or a pattern gives, files are left out whose frames another gives too: HDF5 files
        to which a master file links, and movies of EPU that are there as EER as well. A warning says so.
    options : ReadOptions
        How the files will be read. If as bare pixels, a directory stands for all files in it.

    Returns
    -------
    list of InputFile
        In the order of the inputs. A file named twice is listed twice.

    Raises
    ------
    Error
        There is no such file, or nothing in what was named.
    """
    named = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    files = [file for name in named for file in _expand(os.fspath(name), options)]
    if not files:
        raise Error("no input files were given")
    return files


def _expand(name: str, options: ReadOptions, folder: Path | None = None) -> Iterator[InputFile]:
    """Files that one input names; one out of a list may be relative to the list's folder."""
    if not name:  # as a path it would be the current directory
        raise Error("the name of an input is empty")
    if name.startswith("@") and folder is None:
        yield from _expand_list(Path(name[1:]), options)
        return
    path = _find(name, [] if folder is None else [folder])
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # not there, or no name that a file can have
        mode = 0
    if stat.S_ISDIR(mode) and (options.raw is not None or not is_image_directory(path)):
        yield from _expand_directory(path, options)
    elif mode:
        known = {".star": _expand_star, ".mdoc": _expand_mdoc}
        yield from known.get(path.suffix.lower(), _expand_file)(path)
    elif glob.has_magic(name):
        yield from _expand_pattern(name, folder, options)
    elif os.path.islink(path):
        raise Error(f"{name}: a link that leads nowhere ({os.readlink(path)})")
    else:
        raise Error(f"{name}: no such file")


def _find(name: str, folders: Iterable[Path]) -> Path:
    """Where a file is: from the current directory, or else from one of these."""
    candidates = [name, *(os.path.join(folder, name) for folder in folders)]
    return Path(next(filter(os.path.exists, candidates), name))


def _expand_file(path: Path) -> list[InputFile]:
    return [InputFile(path, Path(path.name))]


def _expand_directory(directory: Path, options: ReadOptions) -> list[InputFile]:
    found: list[Path] = []
    for parent, folders, names in os.walk(directory, onerror=_raise):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        if options.raw is None:
            stores = [folder for folder in folders if is_image_directory(Path(parent, folder))]
            found += [Path(parent, folder) for folder in stores]
            folders[:] = [folder for folder in folders if folder not in stores]
            paths = [path for path in paths if is_image_name(path.name)]
        found += [path for path in paths if _may_be_read(path) and not is_result(path)]
    if not found:
        wanted = "files" if options.raw is not None else f"images in this directory ({format_names()})"
        raise Error(f"{directory}: no {wanted}")
    found.sort()
    if options.raw is None:
        found = _without_doubles(directory, _without_companions(directory, found), options)
    return [InputFile(path, path.relative_to(directory)) for path in found]


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere: images that are missed are to be told of."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _raise(error: OSError) -> None:
    raise error


def _without_companions(directory: Path, found: list[Path]) -> list[Path]:
    """Leave out images that only accompany others, and say so: exposures would count twice."""
    images = [path for path in found if path.suffix.lower() not in _PREVIEWS]
    names = {path.parent / name for path in images for name in _names_of_previews(path.name)}
    epu = any(_EPU_MOVIE.match(path.name) for path in images)

    def kind(path: Path) -> str | None:
        if path.suffix.lower() in _PREVIEWS:
            return "preview" if epu or path.with_suffix("") in names else None
        if not epu or _EPU_MOVIE.match(path.name):
            return None
        return next((kind for kind, name in _EPU_OTHERS.items() if name.match(path.name)), None)

    left_out = {path: what for path in found if (what := kind(path))}
    if left_out:
        counts = Counter(left_out.values())
        numbers = ", ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counts.items())
        first = next(iter(left_out)).relative_to(directory)
        warnings.warn(
            f"{directory}: {numbers} beside the {'movies' if epu else 'images'} left out "
            f"({first}{', ...' * (len(left_out) > 1)})",
            stacklevel=2,
        )
    return [path for path in found if path not in left_out]


def _exposure(path: Path) -> str | None:
    """Name of the exposure of which a file is the movie, if it is one of EPU; not of its preview or text."""
    match = _EPU_MOVIE.match(path.name)
    if match is None or path.suffix.lower() in _PREVIEWS or not is_image_name(path.name):
        return None
    return match[1].lower()


def _without_doubles(where: str | os.PathLike[str], found: list[Path], options: ReadOptions) -> list[Path]:
    """Leave out files whose frames another of them gives too, and say so."""
    linked: dict[Path, Path] = {}
    for path in found:
        linked |= dict.fromkeys(linked_files(path, options), path)
    movies = {path: (path.parent, name) for path in found if (name := _exposure(path))}
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


def _expand_pattern(pattern: str, folder: Path | None, options: ReadOptions) -> list[InputFile]:
    for root in (Path(), folder or Path()):
        found = sorted(root / name for name in glob.glob(pattern, root_dir=root, recursive=True))
        files = [path for path in found if _may_be_read(path) or is_image_directory(path)]
        if files:
            if options.raw is None:
                files = _without_doubles(pattern, files, options)
            parts = Path(pattern).parts
            fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
            base = root.joinpath(*parts[:fixed])
            return [InputFile(path, _below(path.relative_to(base))) for path in files]
    raise Error(f"{pattern}: no file matches this pattern")


def _expand_list(path: Path, options: ReadOptions) -> Iterator[InputFile]:
    lines = [line.strip() for line in _text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise Error(f"{path}: this list names no files")
    for name in names:
        for file in _expand(name, options, path.parent):
            yield replace(file, lists=(path, *file.lists))


def _expand_star(path: Path) -> Iterator[InputFile]:
    table = _star_table(path)
    if _STAR_SERIES not in table:
        yield from _star_images(path, table)
    for name in table.get(_STAR_SERIES, []):
        series = _named_in(path, name)
        for file in _star_images(series, _star_table(series)):
            yield replace(file, lists=(path, *file.lists))


def _star_images(path: Path, table: dict[str, list[str]]) -> Iterator[InputFile]:
    column = next((column for column in _STAR_COLUMNS if column in table), None)
    if column is None:
        raise Error(f"{path}: this STAR file has no {' or '.join(_STAR_COLUMNS)}")
    for name in dict.fromkeys(table[column]):  # a micrograph may stand in it once a particle
        file = _named_in(path, name)
        yield InputFile(file, Path(file.name) if Path(name).is_absolute() else _below(Path(name)), (path,))


def _below(path: Path) -> Path:
    """The part of a relative path that results keep: what is left if no step leads upwards."""
    parts = Path(os.path.normpath(path)).parts
    return Path(*(part for part in parts if part != ".."))


def _named_in(star: Path, name: str) -> Path:
    file = _find(name, (star.parent, *star.absolute().parent.parents))
    if not os.path.exists(file):
        raise Error(f"{name}: no such file, named by {star}")
    return file


def _star_table(path: Path) -> dict[str, list[str]]:
    """Values of the columns of all tables of a STAR file."""
    values: dict[str, list[str]] = {}
    columns: list[str] = []
    in_loop = in_head = False
    for number, line in enumerate(_text(path).splitlines(), 1):
        matches = (match.groups("") for match in _STAR_WORD.finditer(line))
        words = [single or double or bare for single, double, comment, bare in matches if not comment]
        if not words:
            continue
        if len(words) == 1 and (words[0] == "loop_" or _STAR_BLOCK.fullmatch(words[0])):
            columns = []
            in_loop = in_head = words[0] == "loop_"
        elif words[0].startswith("_") and in_head:
            columns.append(words[0])
        elif words[0].startswith("_") and not in_loop:
            values.setdefault(words[0], []).extend(words[1:2])
        elif len(words) != len(columns):
            raise Error(f"{path}, line {number}: {len(words)} values for {len(columns)} columns")
        else:
            in_head = False
            for column, word in zip(columns, words, strict=True):
                values.setdefault(column, []).append(word)
    return values


def _expand_mdoc(path: Path) -> Iterator[InputFile]:
    names = _MDOC_FRAMES.findall(_text(path, errors="replace"))
    if not names:
        raise Error(f"{path}: this mdoc file names no frames (SubFramePath)")
    for name in names:
        windows = PureWindowsPath(name)
        parts = windows.relative_to(windows.anchor).parts
        ends = (Path(*parts[first:]) for first in reversed(range(len(parts))))
        end = next((end for end in ends if os.path.exists(path.parent / end)), None)
        if end is None:
            raise Error(f"{windows.name}: no such file beside {path}, which names it {name}")
        yield InputFile(path.parent / end, _below(end), (path,))


def _text(path: Path, errors: str = "strict") -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError:
        raise Error(f"{path}: not a text file") from None
    except OSError as error:
        raise Error(f"{path}: {error.strerror}") from error
