"""The three things maintainers and the Makefile do with the book: build, check, sync."""

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from tools.book.checks import PAIRING, all_problems, chapters, read
from tools.book.execute import NotebookFailedError, run_all

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build_options = commands.add_parser("build", help="run the notebooks, then build the HTML")
    build_options.add_argument(
        "--stored", action="store_true", help="show stored outputs, run none"
    )
    build_options.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    commands.add_parser("check", help="look for problems without running anything")
    sync_options = commands.add_parser("sync", help="rebuild each .ipynb from its .py and run it")
    sync_options.add_argument("names", nargs="*", help="such as 07-training; all where left out")
    sync_options.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    options = parser.parse_args()

    try:
        if options.command == "build":
            return build(ROOT, stored=options.stored, jobs=options.jobs)
        if options.command == "sync":
            sync(ROOT, options.names, jobs=options.jobs)
    except (NotebookFailedError, ValueError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return report(all_problems(ROOT))


def build(root: Path, stored: bool, jobs: int) -> int:
    """Build ``_build/html`` from copies of the notebooks, which are run first unless ``stored``.

    The committed notebooks are read only: what a run changes, it changes in ``_build/src``.
    """
    begun = time.monotonic()
    source = root / "_build" / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    shutil.copytree(
        root / "book",
        source / "book",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_build"),
    )
    if not stored:
        notebooks = {path: read(path) for path in chapters(source)}
        run_all(notebooks, jobs)
        for path, notebook in notebooks.items():
            nbformat.write(notebook, path)

    # Strict: every warning and every reference that leads nowhere fails; all of them are shown.
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["--warningiserror", "--nitpick", "--keep-going", "--all", "--quiet"]
    built = subprocess.run(
        [jupyter_book, "build", source, "--path-output", root, *strict],
        stdout=subprocess.DEVNULL,  # its closing banner repeats the line below
        check=False,
    )
    if built.returncode:
        print(
            "The book must build without a warning, but the build printed the ones above: "
            "mend the pages that they name.",
            file=sys.stderr,
        )
        return 1
    took = time.monotonic() - begun
    print(f"The book was built in {took:.0f} s: {(root / '_build/html/index.html').as_uri()}")
    return 0


def sync(root: Path, names: Sequence[str], jobs: int) -> None:
    """Make each ``book/NAME.ipynb`` from ``book/NAME.py`` and store the outputs of a run.

    Without ``names``, all of them.
    """
    scripts = sorted((root / "book").glob("*.py"))
    if unknown := sorted(set(names) - {script.stem for script in scripts}):
        raise ValueError(
            f"there is no chapter {', '.join(unknown)}; the chapters are "
            f"{', '.join(script.stem for script in scripts)}."
        )
    scripts = [script for script in scripts if not names or script.stem in names]
    notebooks = {script.with_suffix(".ipynb"): from_script(script) for script in scripts}
    run_all(notebooks, jobs)
    for path, notebook in notebooks.items():
        # The exact Python would change the file with every maintainer's machine.
        notebook.metadata.get("language_info", {}).pop("version", None)
        nbformat.write(notebook, path)


def from_script(script: Path) -> NotebookNode:
    """The notebook that the py:percent file ``script`` describes, without outputs."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["jupytext"] = {"formats": PAIRING}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    # Random ids would change every cell with every sync; these change only with the cell's text.
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def report(problems: list[str]) -> int:
    """Print the problems; 1 if there are any, else 0."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("The book's pairs, outputs, figures and contents are in order.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
