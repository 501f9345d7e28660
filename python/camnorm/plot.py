"""The public name of `camnorm.report.plot`."""

import sys

from camnorm.report import plot

sys.modules[__name__] = plot
