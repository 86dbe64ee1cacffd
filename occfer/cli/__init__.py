"""The command line: ``occfer pretrain``, ``finetune``, ``evaluate``, ``predict``, ``crawl`` ...

Every field of a recipe is an option, by its own name; the defaults are those of the tier.
``occfer --version`` says which version this is.
"""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Annotated

import tyro

from occfer.cli.collecting import Align, Crawl, Get
from occfer.cli.evidence import Duplicates, Occlude, Reproduce
from occfer.cli.training import Evaluate, Export, Finetune, Predict, Pretrain
from occfer.engine.failures import NO_MEMORY
from occfer.engine.records import own_version
from occfer.memory import keep_memory

Command = (
    Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Crawl, tyro.conf.subcommand("crawl")]
    | Annotated[Align, tyro.conf.subcommand("align")]
    | Annotated[Get, tyro.conf.subcommand("get")]
    | Annotated[Duplicates, tyro.conf.subcommand("duplicates")]
    | Annotated[Occlude, tyro.conf.subcommand("occlude")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``occfer`` and ``python -m occfer``; errors are one sentence, not a trace."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is no text shall stop nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(arguments)
    except BrokenPipeError as error:
        if not _nobody_listens():
            sys.exit(f"occfer: {error}")
        sys.exit(1)
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        sys.exit(f"occfer: {str(error) or type(error).__name__}")
    except RuntimeError as error:
        if not NO_MEMORY.search(str(error)):
            raise
        sys.exit(
            "occfer: memory ran out; take a smaller network or smaller pictures, or fewer of them "
            "at a time: --recipe.network.width, --recipe.network.size and --recipe.batch-size of "
            "a training, --side of an export."
        )
    except KeyboardInterrupt as stop:
        sys.exit(f"occfer: {str(stop) or 'stopped'}")


def _run(arguments: Sequence[str]) -> None:
    try:
        if arguments == ["--version"]:
            print(own_version())
            return
        command = _parsed(arguments)
        keep_memory()
        command.run()
    finally:
        sys.stdout.flush()  # else the interpreter does, when nothing can be said of it any more


def _nobody_listens() -> bool:
    """Whether it is the output that is cut off, as by ``| head``: then there is nobody to tell."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again
        return True
    return False


def _parsed(arguments: Sequence[str]) -> Command:
    """The command that was asked for; tyro says what is wrong with it in a box."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(Command, args=arguments, prog="occfer", description=__doc__)
    finally:
        # Of a value out of range tyro also names the field in which it holds the command; as many
        # letters keep the box a box.
        words = said.getvalue().replace("__tyro-dummy-inner__.", "what is asked for in ")
        print(words, end="", file=sys.stderr)
