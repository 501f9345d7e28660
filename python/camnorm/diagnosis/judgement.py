"""One verdict on a set, of what its frames are enough for and of all findings: the worst comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from camnorm.diagnosis.convergence import Convergence
from camnorm.diagnosis.finding import Finding, Severity
from camnorm.sensor.balance import Verdict
from camnorm.sensor.prediction import Prediction

__all__ = ["OF_BALANCE", "Judgement", "Step", "advised", "judge"]

Step: TypeAlias = Literal["correct", "best", "split", "verify", "measure", "none"]

_WORDS: dict[Verdict, str] = {
    "good": "Good",
    "usable": "Usable, with a warning",
    "harmful": "Not usable",
    "unknown": "Unknown",
}
# Best first.
_ORDER: tuple[Verdict, ...] = ("good", "usable", "unknown", "harmful")
_OF_SEVERITY: dict[Severity, Verdict] = {"note": "good", "warning": "usable", "unusable": "harmful"}

# Findings that say the same of the number of frames as the balance of pattern and noise does, which goes by
# what the correction adds.
OF_BALANCE = ("frames", "specimens")
# It has several possible causes, which other findings name.
_VAGUEST = "halves"
# Error of Eq. (2) over that of mode "best" from which on the latter is recommended.
_CLEARLY = 1.05
# Findings of groups that are to be measured separately.
_OF_GROUPS = ("mixed", "modes")


@dataclass(frozen=True)
class Judgement:
    """The verdict on a set, for people and programs.

    Attributes
    ----------
    verdict : {"good", "usable", "harmful", "unknown"}
        Usable: with a warning. Harmful: a correction with this measurement does harm, or there can be none.
    reason : str
        Why, in one sentence.
    remedy : str
        What to do first; empty if there is nothing.
    step : {"correct", "best", "split", "verify", "measure", "none"}
        What to do next: correct; correct by mode "best"; measure groups separately; verify; measure more
        frames; nothing with these frames.
    """

    verdict: Verdict
    reason: str
    remedy: str
    step: Step

    @property
    def sentence(self) -> str:
        """The verdict and its reason in one line."""
        return f"{_WORDS[self.verdict]}: {self.reason[:1].lower()}{self.reason[1:]}"

    def to_dict(self) -> dict[str, Any]:
        """Return verdict, reason and remedy by their names, ready for JSON."""
        return {"verdict": self.verdict, "reason": self.reason, "remedy": self.remedy}


def judge(convergence: Convergence, findings: Sequence[Finding]) -> Judgement:
    """Judge a set.

    Parameters
    ----------
    convergence : Convergence
        What `frames_needed` gave of it.
    findings : sequence of Finding
        What `check` gave of it, the most important first.

    Returns
    -------
    Judgement
        The worst of all. Of equally bad ones a finding comes before the number of frames, since more frames
        do not cure it. Groups that are to be measured separately come first: the other numbers are of a
        mixture.
    """
    balance = convergence.balance
    judgements = [
        Judgement(
            _OF_SEVERITY[finding.severity],
            _capital(finding.headline or finding.sentence),
            finding.remedy,
            "split"
            if finding.name in _OF_GROUPS
            else "none"
            if finding.severity == "unusable"
            else "correct",
        )
        for finding in sorted(findings, key=lambda finding: finding.name == _VAGUEST)
        if finding.flagged and finding.severity != "note" and finding.name not in OF_BALANCE
    ]
    judgements.append(Judgement(convergence.verdict, balance.reason, balance.remedy, _step(convergence)))
    # The first of the worst.
    worst = max(judgements, key=lambda judgement: _ORDER.index(judgement.verdict))
    groups = [judgement for judgement in judgements if judgement.step == "split"]
    return replace(groups[0], verdict=worst.verdict) if groups else worst


def advised(judgement: Judgement, prediction: Prediction | None) -> Judgement:
    """The judgement, whose step is mode "best" if that leaves clearly less error than Eq. (2)."""
    if judgement.step != "correct" or prediction is None or prediction.best != "best":
        return judgement
    if prediction.errors["both"] < _CLEARLY * prediction.errors["best"]:
        return judgement
    return replace(judgement, step="best")


def _step(convergence: Convergence) -> Step:
    verdict = convergence.verdict
    if not convergence.noise > 0:
        return "measure"
    if verdict == "harmful":
        return "best"
    if verdict == "unknown":
        return "verify"
    return "best" if convergence.balance.noisy_sigma else "correct"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
