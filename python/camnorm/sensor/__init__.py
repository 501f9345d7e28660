"""The result of a measurement: the class, its file, its provenance, its tables, lists of its frames."""
