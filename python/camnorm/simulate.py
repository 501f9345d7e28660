"""The public name of `camnorm.demo.simulate`."""

import sys

from camnorm.demo import simulate

sys.modules[__name__] = simulate
