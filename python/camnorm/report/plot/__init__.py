"""Figures: frames, mean and sigma images, correlation curves, laid out after the paper's.

matplotlib is imported when the first figure is made, and used through its objects only: no pyplot,
no window, no global state, so figures may be made in any thread and inside other programs.
"""

from camnorm.report.plot.curves import Curve, frc_figure, frc_panel
from camnorm.report.plot.epochs import changes_figure, changes_panels
from camnorm.report.plot.gain import gain_figure
from camnorm.report.plot.images import correction_figure, image_panel
from camnorm.report.plot.saving import MARK as MARK
from camnorm.report.plot.saving import save
from camnorm.report.plot.sensor import sensor_figure, sensor_panels
from camnorm.report.plot.style import pyplot_figure as pyplot_figure

__all__ = [
    "Curve",
    "changes_figure",
    "changes_panels",
    "correction_figure",
    "frc_figure",
    "frc_panel",
    "gain_figure",
    "image_panel",
    "save",
    "sensor_figure",
    "sensor_panels",
]
