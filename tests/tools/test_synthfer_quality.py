"""How the renderer's landmarks are held against a detector's: coordinates, units, the record."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.data import FaceSet, load_faces
from occfer.data.synthfer import PACK_SHA256
from tools.synthfer import quality

RECORD = Path(__file__).resolve().parents[2] / "book" / "results" / "synthfer" / "mtcnn.json"

# Two eyes 20 pixels apart, nose and mouth below.
FACE = np.array([[[40.0, 40.0], [60.0, 40.0], [50.0, 52.0], [42.0, 64.0], [58.0, 64.0]]])


class Lamp:
    """A detector that takes the centre of what is bright for all five landmarks."""

    def detect(self, picture, landmarks):
        light = np.asarray(picture, float)[..., 0]
        rows, columns = np.mgrid[: len(light), : light.shape[1]]
        centre = [(light * axis).sum() / light.sum() for axis in (columns, rows)]
        return np.array([[*centre, *centre]]), np.ones(1), np.array([[centre] * 5])


class Blind:
    def detect(self, picture, landmarks):
        return None, [None], None


@pytest.mark.parametrize("enlargement", quality.ENLARGEMENTS)
def test_a_spot_is_reported_where_it_is_whatever_the_enlargement(enlargement):
    picture = np.zeros((112, 112, 3), np.uint8)
    picture[30:33, 70:75] = 255
    box, points = quality.show(Lamp(), picture, enlargement)
    np.testing.assert_allclose(points, [[72, 31]] * 5, atol=0.02)
    np.testing.assert_allclose(box, [72, 31, 72, 31], atol=0.02)


def test_a_face_that_is_not_seen_is_not_found():
    box, points = quality.show(Blind(), np.zeros((112, 112, 3), np.uint8), 2)
    assert np.isnan(points).all()
    assert not quality.found(box[None], FACE).any()


def test_a_box_beside_the_face_does_not_count():
    boxes = np.array([[30.0, 30, 70, 80], [51, 30, 90, 80], [30, 30, 70, 51]])
    truth = np.repeat(FACE, 3, 0)
    assert quality.found(boxes, truth).tolist() == [True, False, False]


@given(
    st.floats(-np.pi, np.pi), st.floats(0.2, 5), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)
)  # fmt: skip
def test_offsets_do_not_depend_on_the_tilt_and_the_size_of_the_face(angle, size, right, down):
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = FACE + 20 * np.array([right, down])
    found = quality.offsets(moved @ turn.T + 7, FACE @ turn.T + 7)
    np.testing.assert_allclose(found, np.broadcast_to([right, down], (1, 5, 2)), atol=1e-9)
    error = quality.errors(moved @ turn.T, FACE @ turn.T)
    np.testing.assert_allclose(error, np.hypot(right, down), atol=1e-9)


def test_a_summary_counts_every_face_once_and_leaves_out_the_lost_ones():
    count = 14
    truth = np.repeat(FACE, count, 0)
    points = truth + np.array([0.0, 2.0])  # a tenth of the distance of the eyes, downwards
    points[0], boxes = 1e6, np.tile([30.0, 30, 70, 80], (count, 1))
    boxes[0] = np.nan
    faces = FaceSet(
        torch.zeros(count, 3, 112, 112, dtype=torch.uint8),
        torch.arange(count) % 7,
        [str(number) for number in range(count)],
        torch.from_numpy(truth).float(),
        split="test",
        extras={
            "pose": torch.linspace(-35, 35, count)[:, None].expand(count, 3).contiguous(),
            "intensity": torch.where(torch.arange(count) % 7 == 6, 0.0, 1.0),
            "shade": torch.arange(count) % 10,
            "glasses": torch.arange(count) % 2,
        },
    )
    result = quality.summary(boxes, points, faces)
    assert result["count"] == count
    assert result["found"] == pytest.approx(13 / 14, abs=1e-5)
    assert result["median_error"] == pytest.approx(0.1)
    assert result["median_offset_by_landmark"]["nose"] == pytest.approx([0, 0.1])
    assert result["by_class"]["anger"] == {
        "count": 2, "found": 0.5, "median_error": pytest.approx(0.1)
    }  # fmt: skip
    for group in ("by_class", "by_yaw", "by_shade", "by_glasses"):
        assert sum(part["count"] for part in result[group].values()) == count
    assert sum(part["count"] for part in result["by_intensity"].values()) == 12


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_the_record_is_of_this_pack_and_of_all_test_people(record):
    faces = load_faces("synthfer", split="test")
    assert record["pack_sha256"] == PACK_SHA256
    assert record["data"]["test"] == faces.describe()
    assert record["protocol"]["enlargements"] == list(quality.ENLARGEMENTS)


def test_the_recorded_numbers_follow_from_what_the_detector_saw(record):
    faces = load_faces("synthfer", split="test")
    with np.load(RECORD.with_name("mtcnn-points.npz")) as seen:
        for times in quality.ENLARGEMENTS:
            again = quality.summary(seen[f"boxes{times}"], seen[f"points{times}"], faces)
            assert again == record["metrics"][str(times)]


def test_mtcnn_finds_the_test_people_where_the_mesh_says_they_are(record):
    result = record["metrics"][str(quality.GOAL_ENLARGEMENT)]
    assert result["found"] >= 0.98
    assert result["median_error"] <= 0.05
