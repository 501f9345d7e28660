"""The public name of `camnorm.diagnosis.checks`."""

import sys

from camnorm.diagnosis import checks

sys.modules[__name__] = checks
