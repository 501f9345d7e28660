"""The answer on a gain reference, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from camnorm.apriori.gain import Treatment

__all__ = ["Finding", "sentence_of"]

_WORTH = 0.5  # share of the pattern's variance below which a gain that fits does too little
_FLIPS = {1: "flipped upside down", 2: "flipped left to right"}


@dataclass(frozen=True)
class Finding:
    """What was found out about a gain, for the answer."""

    fits: bool
    applied: int
    match: float
    z: float
    given: Treatment
    """What programs do with it as it is."""
    treatment: Treatment
    """What sets it right."""
    scale: float
    sized: bool
    """Whether programs can use it at its size."""
    explained: float = 0.0
    stale: int = 0

    @property
    def best(self) -> bool:
        """Whether it fits as it is given."""
        return self.fits and not self.applied and self.treatment == self.given and self.sized


def sentence_of(found: Finding) -> str:
    """Say whether the gain fits, and what is to be done."""
    if not found.fits:
        return (
            f"The gain does not fit in any orientation (correlation of the patterns {found.match:.2f}): it "
            "is of another camera, or the movies were corrected by it already."
        )
    if found.applied == 1:
        return "The movies were corrected by this gain already: use them without a gain."
    if found.applied == 2:
        return "The movies were corrected by this gain twice: go back to the raw movies."
    share = f"{found.explained:.0%} of the pattern".replace("%", " %")
    spots = ""
    if found.stale:
        spots = f", but is stale in {found.stale} {'place' if found.stale == 1 else 'places'}"
    if found.best:
        weak = "" if found.explained >= _WORTH else " only"
        return f"The gain fits as it is: it takes away{weak} {share}{spots}."
    return f"The gain does not fit as it is, but would take away {share} if it were {_changes(found)}{spots}."


def _changes(found: Finding) -> str:
    words = []
    if found.treatment.rotate:
        words.append(f"rotated by {90 * found.treatment.rotate} degrees (as RELION counts)")
    if found.treatment.flip:
        words.append(_FLIPS[found.treatment.flip])
    if found.treatment.operation != found.given.operation:
        words.append("inverted")
    if not found.sized:
        words.append(f"binned by {found.scale:g}" if found.scale > 1 else f"expanded by {1 / found.scale:g}")
    return " and ".join(words)
