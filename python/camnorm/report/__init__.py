"""What is drawn of results: figures, in panels by topic."""
