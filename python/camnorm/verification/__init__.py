"""Verification: is the pattern of the sensor gone from its corrected images?"""
