"""Build the book and check it: ``python -m tools.book build|check|sync`` from the repository root.

A chapter is a pair: ``book/NN-name.py`` (jupytext, py:percent), which maintainers edit and
review, and ``book/NN-name.ipynb``, the same cells with the outputs of a run at the smoke tier,
which readers open.
"""
