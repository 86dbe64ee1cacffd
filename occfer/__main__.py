"""``python -m occfer``, which does what the command ``occfer`` does."""

from occfer_command import main

main()
