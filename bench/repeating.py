"""The command camnorm, but files that are named again count again: large sets are made of a few files."""

from camnorm.cli import main
from camnorm.measurement import source

source.without_copies = lambda catalogue: (catalogue, [])

if __name__ == "__main__":
    main()
