"""``python -m camnorm``: the command line."""

from camnorm.cli import main

main()
