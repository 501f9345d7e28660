"""One page that shows everything known about a sensor, offline, for people who run a microscope."""
