"""What users have to tell other programs to use a gain reference as it is."""

from __future__ import annotations

from camnorm.apriori.gain import Treatment

__all__ = ["flags_of", "orientation_of"]


def orientation_of(treatment: Treatment, top_first: bool) -> tuple[int, int]:
    """How a gain lies that a treatment sets right: quarter turns of the right one, then a flip.

    Parameters
    ----------
    treatment : Treatment
        What is to be done to the gain.
    top_first : bool
        Whether the frames have the top row first, where RELION's turns run the other way round in the array.

    Returns
    -------
    tuple of int
        Quarter turns counter-clockwise, as of `numpy.rot90`, and the flip: 0, 1 (rows) or 2 (columns).
    """
    turns = treatment.rotate if top_first else -treatment.rotate
    # A flip turns what comes before it the other way round.
    return (turns if treatment.flip else -turns) % 4, treatment.flip


def flags_of(treatment: Treatment, top_first: bool, turned: bool, scale: float, eer: bool) -> dict[str, str]:
    """Flags of RELION, MotionCor3 and cryoSPARC.

    Parameters
    ----------
    treatment : Treatment
        What is to be done to the gain.
    top_first : bool
        Whether the frames have the top row first.
    turned : bool
        Whether the gain's file has its rows in the other order than those of the frames.
    scale : float
        Pixels of the gain along a pixel of the frames.
    eer : bool
        Whether the frames are of EER files.

    Returns
    -------
    dict of str to str
        By the names of the programs.
    """
    rotate, flip, operation = treatment.rotate, treatment.flip, treatment.operation
    relion = f"--gain_rot {rotate} --gain_flip {flip}"
    motioncor = f"-RotGain {rotate} -FlipGain {flip} -InvGain {int(operation == 'divide')}"
    remake = "write the gain with -o fixed.mrc and use that"
    sized = scale == 1 or (eer and scale == 2)
    # RELION multiplies; EER frames are divided by what is no .gain file, unless that is rotated or flipped.
    if not sized or (eer and (rotate or flip)) or (not eer and operation == "divide"):
        relion = remake
    if not sized and scale != 0.5:
        motioncor = remake
    return {
        "relion": relion,
        "motioncor": motioncor,
        "cryosparc": _cryosparc(treatment, top_first, turned)
        if scale == 1 and operation == "multiply"
        else remake,
    }


def _cryosparc(treatment: Treatment, top_first: bool, turned: bool) -> str:
    """Fields of the form: flips first, then the rotation, of the rows as they are in the file."""
    turns = treatment.rotate if top_first else -treatment.rotate
    # right = flip(rot90(gain, turns)) = rot90(flip(gain), -turns), if there is a flip.
    flips = {1: (False, True), 2: (True, False)}.get(treatment.flip, (False, False))
    turns = (-turns if treatment.flip else turns) % 4
    x, y = flips
    y ^= turned
    if turns == 2 and (x or y):
        x, y, turns = not x, not y, 0
    on = {True: "on", False: "off"}
    return f"flip in X: {on[x]}, flip in Y: {on[y]}, rotate: {turns}"
