"""``python -m camnorm``: the command line."""

from .cli import main

main()
