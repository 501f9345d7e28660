"""The table of verbs."""

from __future__ import annotations

__all__ = ["VERBS"]

VERBS = {
    "demo": "Simulate two cameras with known defects, run everything on their frames, and draw figures.",
    "measure": "Measure a sensor from its images, in one pass.",
    "correct": "Write corrected copies of image files.",
    "verify": "Test whether corrected frames are independent of each other, by Fourier ring correlation.",
    "frc": "Compute the Fourier ring correlation of two frames, and test whether they are independent.",
    "show": "Show whether a measurement can be used, and what its sensor file holds.",
    "health": "Find the bad pixels of a sensor, and say what is wrong with them.",
    "gain": "Check whether a gain reference fits: orientation, operation, size, age.",
    "export": "Write gain, dark and defects for another program, and the command that uses them.",
    "compare": "Show what changed in a sensor between two measurements: pixels, dust, gain and offset.",
    "report": "Write everything known about a sensor on one page, which opens in a browser offline.",
    "merge": "Merge measurements of one sensor. The result is exact, as if they had been one run.",
    "subtract": "Subtract a measurement from one that contains it. The result is exact.",
}
"""What each verb does, in the order of the help. The verb is a function in the module of its name."""
