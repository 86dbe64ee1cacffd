"""What ``occfer align`` would pass over in silence it refuses, in one sentence."""

from pathlib import Path

import pytest

from occfer.cli import main


def test_workers_are_of_ray(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^occfer: --workers 3 is of Ray, and without --engine"):
        main(["align", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "3"])
    assert list(tmp_path.iterdir()) == []
