"""Fourier transforms of images, their rings, and the test of independence by ring correlation."""
