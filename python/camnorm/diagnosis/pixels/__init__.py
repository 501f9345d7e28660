"""What the statistics of a sensor show about each of its pixels."""
