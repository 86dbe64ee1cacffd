"""``python -m occfer``."""

from occfer.cli import main

main()
