"""Figures show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from occfer.baselines import DESCRIPTORS
from occfer.experiments.rows import ROWS
from occfer.plots import ROW_LOOKS, YELLOW, show_face, show_history


@pytest.fixture
def figure():
    """Draws a history; closed afterwards."""
    yield show_history
    plt.close("all")


def drawn(figure) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Panel → line → its points."""
    return {
        axis.get_title(): {
            line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axis.get_lines()
        }
        for axis in figure.axes
    }


def test_a_history_is_drawn_by_kinds_of_numbers(figure) -> None:
    history = [
        {"epoch": 1, "loss": 5.0, "seconds": 9.0},
        {"epoch": 2, "loss": 4.0, "seconds": 19.0, "knn_accuracy": 0.25, "alignment": 0.5},
        {"epoch": 3, "loss": 3.5, "seconds": 29.0},
    ]
    found = drawn(figure(history))
    assert found.keys() == {"loss", "share", "on the unit sphere"}
    assert list(found["loss"].values()) == [[(1, 5.0), (2, 4.0), (3, 3.5)]]
    assert found["share"] == {"knn accuracy": [(2, 0.25)]}
    assert found["on the unit sphere"] == {"alignment": [(2, 0.5)]}


def test_every_curve_has_its_name_beside_it(figure) -> None:
    """In a legend, or as the title of a panel where it stands alone."""
    axes = figure([{"epoch": 1, "loss": 5.0, "knn_accuracy": 0.25}]).axes
    legends = {axis.get_title(): axis.get_legend() for axis in axes}
    assert legends["loss"] is None
    assert [text.get_text() for text in legends["share"].get_texts()] == ["knn accuracy"]


def test_rows_can_be_told_apart_in_grey_and_as_points() -> None:
    assert ROW_LOOKS.keys() == {*DESCRIPTORS, *ROWS}
    assert YELLOW not in {look["color"] for look in ROW_LOOKS.values()}
    for others in (("linestyle", "marker"), ("color", "marker", "fillstyle")):
        told = {tuple(look.get(each) for each in others) for look in ROW_LOOKS.values()}
        assert len(told) == len(ROW_LOOKS)
    _, axis = plt.subplots()
    for look in ROW_LOOKS.values():
        axis.plot([0, 1], [0, 1], **look)
    plt.close("all")


def test_a_history_of_nothing_is_refused(figure) -> None:
    with pytest.raises(ValueError, match="got 1 rows with none of these"):
        figure([{"epoch": 1, "seconds": 3.0}])


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2)])
@pytest.mark.parametrize(("kind", "white"), [(torch.uint8, 255), (torch.float32, 1)])
def test_grey_is_as_bright_as_it_says(shape, kind, white) -> None:
    """A picture of two fifths of white is drawn so, whatever its own brightest pixel."""
    _, axis = plt.subplots()
    show_face(axis, torch.full(shape, 0.4 * white).to(kind))
    (image,) = axis.get_images()
    drawn = image.to_rgba(image.get_array(), norm=True)
    plt.close("all")
    np.testing.assert_allclose(drawn[..., :3], 0.4, atol=0.01)
