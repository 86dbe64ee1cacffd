"""The command line: ``occfer pretrain``, ``finetune``, ``evaluate``, ``predict``, ``crawl`` ...

Every field of a recipe is an option, by its own name; the defaults are those of the tier.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from occfer.cli.collecting import Align, Crawl, Get
from occfer.cli.evidence import Duplicates, Occlude, Reproduce
from occfer.cli.training import Evaluate, Export, Finetune, Predict, Pretrain
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
    """Entry point of ``occfer`` and ``python -m occfer``; errors are one sentence, not a trace.

    What goes wrong while the library is imported, such as an impossible ``OCCFER_TIER``, is one
    with ``occfer`` alone: ``python -m`` imports it before anything here can catch that.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is no text shall stop nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        command = tyro.cli(Command, args=arguments, prog="occfer", description=__doc__)
        keep_memory()
        command.run()
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        sys.exit(f"occfer: {str(error) or type(error).__name__}")
    except KeyboardInterrupt as stop:
        sys.exit(f"occfer: {str(stop) or 'stopped'}")
