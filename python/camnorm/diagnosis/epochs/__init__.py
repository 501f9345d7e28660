"""Two measurements of one sensor compared: pixels that changed, dust that came, went, stayed or moved."""
