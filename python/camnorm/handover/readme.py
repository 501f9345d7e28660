"""README.txt beside the files: how they are used, what is exact, what is not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import camnorm
from camnorm.handover.program import Calibration, Program

__all__ = ["approximation_of", "readme_text"]

_WIDTH = 100

_CONTENTS = {
    "gain": "by which frames are multiplied; 0 at bad pixels",
    "dark": "which is subtracted from frames first",
    "defects.txt": "bad pixels as text",
    "defects_map": "bad pixels as an image: 1 is bad",
    "defects.npy": "bad pixels: True is bad",
    "error": "standard error of the gain, as a fraction of it (0.01 is 1 %)",
}


def approximation_of(calibration: Calibration, spread: float) -> str:
    """What the program makes of frames, in two sentences at most."""
    if calibration.exact:
        return (
            "Exact: (frame - dark) * gain is what camnorm correct does, Eq. (2), with gain = s0/sigma and "
            "dark = mean - I0*sigma/s0."
        )
    text = (
        "Approximation: frame * gain, with gain = I0/mean, is what camnorm correct --mode gain does. The "
        "mean of every pixel is that of Eq. (2)"
    )
    if spread == spread:
        text += f"; its sigma is not made the same, and varies by {spread:.2g} of s0 (rms)"
    return text + "."


def readme_text(
    program: Program,
    calibration: Calibration,
    folder: Path,
    names: Sequence[str],
    approximation: str,
    gain_error: float,
    notes: Sequence[str],
) -> str:
    """Write the text of README.txt.

    Parameters
    ----------
    program : Program
        Which the files are for.
    calibration : Calibration
        What they were made of.
    folder : pathlib.Path
        Where they are.
    names : sequence of str
        Their names.
    approximation : str
        From `approximation_of`.
    gain_error : float
        Root mean square of the standard error of the gain, as a fraction.
    notes : sequence of str
        More sentences.

    Returns
    -------
    str
    """
    return "\n".join(_lines(program, calibration, folder, names, approximation, gain_error, notes))


def _lines(
    program: Program,
    calibration: Calibration,
    folder: Path,
    names: Sequence[str],
    approximation: str,
    gain_error: float,
    notes: Sequence[str],
) -> Iterator[str]:
    movies = calibration.movies
    height, width = movies.shape
    yield from textwrap.wrap(
        f"Gain{', dark' * (calibration.dark is not None)} and defects for {program.title}, by camnorm "
        f"{camnorm.__version__}, for {movies.format} movies of {width} x {height} pixels (x, y) like "
        f"{movies.name}",
        _WIDTH,
        break_on_hyphens=False,
    )
    yield from ("", "How to use them:", "")
    yield from (f"    {line}" for line in program.usage(calibration, folder))
    yield ""
    for remark in program.remarks(calibration):
        yield from textwrap.wrap(f"- {remark}", _WIDTH, subsequent_indent="  ")
    yield from ("", "Result:", "")
    precision = (
        f"The gain has a standard error of {gain_error:.2%} (rms over the pixels); error.mrc has it for each."
    )
    bad = f"Bad pixels, which the program is to conceal: {calibration.bad.sum()}."
    for sentence in (approximation, precision, bad, *calibration.notes, *notes):
        yield from textwrap.wrap(f"- {sentence}", _WIDTH, subsequent_indent="  ")
    yield from ("", "Files:", "")
    for name in names:
        meaning = next((text for start, text in _CONTENTS.items() if name.startswith(start)), "")
        yield f"    {name:<18}{meaning}".rstrip()
    yield from ("", f"How the conventions of {program.title} were found: {program.tested}.", "")
