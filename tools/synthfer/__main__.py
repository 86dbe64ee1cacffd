"""Render SynthFER and pack it: ``python -m tools.synthfer --out DIR --pack FILE``.

The same seed gives the same faces whatever the number of workers, because each face draws from
(seed, identity, face) alone. A finished face is not rendered again. The defaults are the pack that
the library carries.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from . import records
from .pack import write_pack
from .sheet import class_sheets, contact_sheet
from .workers import render_all


def main(arguments: list[str] | None = None) -> None:
    """Command line: render what is missing, then pack and draw the contact sheet where asked."""
    parser = argparse.ArgumentParser(prog="python -m tools.synthfer", description=__doc__)
    parser.add_argument("--identities", type=int, default=500, help="people to draw")
    parser.add_argument("--per-identity", type=int, default=10,
                        help="faces a person; the classes take turns")  # fmt: skip
    parser.add_argument("--seed", type=int, default=2026, help="one seed, one pack")
    parser.add_argument("--samples", type=int, default=8, help="camera rays a pixel")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes, one thread each"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of finished faces")
    parser.add_argument("--pack", type=Path, help="write the pack to this .safetensors file")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet to this .png file")
    parser.add_argument("--class-sheets", type=Path, help="write a sheet a class to this folder")
    options = parser.parse_args(arguments)

    recipe = {
        "seed": options.seed,
        "identities": options.identities,
        "per_identity": options.per_identity,
        "samples": options.samples,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    _check_recipe(options.out / "recipe.json", recipe)
    todo = [
        (identity, missing)
        for identity in range(options.identities)
        if (
            missing := [
                face
                for face in range(options.per_identity)
                if not records.path_of(options.out, identity, face).exists()
            ]
        )
    ]
    render_all(options.out, recipe, todo, options.workers)
    if options.pack:
        print(f"{options.pack}: SHA-256 {write_pack(options.out, options.pack, recipe)}")
    if options.sheet:
        contact_sheet(options.out, recipe).save(options.sheet)
    if options.class_sheets:
        options.class_sheets.mkdir(parents=True, exist_ok=True)
        for emotion, sheet in class_sheets(options.out, recipe):
            sheet.save(options.class_sheets / f"{emotion}.png", optimize=True)


def _check_recipe(path: Path, recipe: dict[str, int]) -> None:
    if path.exists() and (found := json.loads(path.read_text())) != recipe:
        raise SystemExit(
            f"Expected {path.parent} to hold faces of {recipe}, but it holds faces of {found}; "
            "give another --out or the same settings."
        )
    path.write_text(json.dumps(recipe))


if __name__ == "__main__":
    main()
