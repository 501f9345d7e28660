"""``python -m camnorm``: the command line."""

from camnorm.cli.verbs import main

main()
