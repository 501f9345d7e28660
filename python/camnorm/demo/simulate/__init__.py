"""Cameras with a known truth, for the demonstration and for tests.

A frame is made as a sensor makes it::

    light      L = level · exposure · scene                   electrons a pixel
    charge     Q = L + sqrt(L)·z                              shot noise
    output     v = gain · Q + offset + read_noise · z'        digital numbers (DN)
    concealed  v = mean of the nearest live pixels            what vendors do to dead pixels
    stored     v rounded half to even and saturated           integer dtypes

with standard normal z and z'. Gain, offset and read noise are images: where they deviate from a
constant is the fixed pattern that the vendor's own correction left behind. The gain acts on counted
charge, so it scales signal and shot noise alike. Shot noise is Gaussian, which departs from Poisson
statistics below some 20 electrons a pixel.
"""

from camnorm.demo.simulate.camera import Camera
from camnorm.demo.simulate.scenes import Landscape, Particles, Scene

__all__ = ["Camera", "Landscape", "Particles", "Scene"]
