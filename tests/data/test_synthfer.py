"""SynthFER as shipped: balanced, honest about where things are, and refused when damaged."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from occfer.data import FaceSet, load_faces
from occfer.data import synthfer as reader
from occfer.emotions import EMOTIONS

SPLITS = ("train", "val", "test")
COVERING = reader.PARTS.index("covering")


@pytest.fixture(scope="module")
def splits() -> dict[str, FaceSet]:
    return {split: load_faces("synthfer", split=split) for split in SPLITS}


@pytest.fixture(scope="module")
def faces(splits) -> FaceSet:
    return FaceSet.concat(list(splits.values()))


def near(faces: FaceSet, point: int, part: str, radius: float) -> torch.Tensor:
    """Whether the part lies within ``radius`` pixels of a landmark, a truth value per face."""
    parts = faces.extras["parts"] == reader.PARTS.index(part)
    step = faces.size[0] / parts.shape[1]
    rows, columns = torch.meshgrid(*[torch.arange(n) for n in parts.shape[1:]], indexing="ij")
    centres = (torch.stack([columns, rows], -1) + 0.5) * step - 0.5
    distance = (centres - faces.landmarks[:, point, None, None]).norm(dim=-1)
    return ((distance <= radius) & parts).flatten(1).any(1)


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_has_the_same_number_of_faces(splits, split):
    assert len(set(splits[split].counts().values())) == 1


def test_nobody_is_in_two_splits(splits):
    people = [set(faces.extras["identity"].tolist()) for faces in splits.values()]
    assert sum(map(len, people)) == len(set.union(*people))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("trait", ["shade", "gender", "age", "glasses"])
def test_traits_are_spread_alike_over_the_classes(splits, split, trait):
    faces = splits[split]
    value = faces.extras[trait].double()
    means = torch.stack([value[faces.labels == label].mean() for label in range(len(EMOTIONS))])
    # All of them belong to the person, and everybody shows every class equally often.
    assert (means - value.mean()).abs().max() <= 1e-9


@pytest.mark.parametrize("split", SPLITS)
def test_every_shade_is_there_for_women_and_men_alike(splits, split):
    faces = splits[split]
    first = np.unique(faces.extras["identity"].numpy(), return_index=True)[1]
    shades = Counter(faces.extras["shade"][first].tolist())
    assert set(shades) == set(range(10))
    assert max(shades.values()) - min(shades.values()) <= 1
    women = (faces.extras["gender"][first] > 0.5).double().mean()
    assert 0.4 <= women <= 0.6


def test_only_neutral_faces_have_no_intensity(faces):
    neutral = faces.labels == EMOTIONS.index("neutral")
    intensity = faces.extras["intensity"]
    assert (intensity[neutral] == 0).all()
    assert intensity[~neutral].min() >= 0.3
    assert intensity[~neutral].max() <= 1


def test_landmarks_lie_inside_the_picture_and_stand_as_in_a_face(faces):
    points = faces.landmarks
    assert points.min() >= 0
    assert points.max() <= faces.size[0] - 1
    left_eye, right_eye, nose, left_mouth, right_mouth = points.unbind(1)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert ((left_eye + right_eye)[:, 1] / 2 < nose[:, 1]).all()
    assert (nose[:, 1] < (left_mouth + right_mouth)[:, 1] / 2).all()


@pytest.mark.parametrize(
    ("point", "part", "radius"),
    [(0, "eyes", 2.5), (1, "eyes", 2.5), (2, "nose", 2.5), (3, "mouth", 4.0), (4, "mouth", 4.0)],
)
def test_landmarks_and_part_map_agree(faces, point, part, radius):
    # A rim of glasses, a shut lid or the turn of the head may hide the part itself.
    assert near(faces, point, part, radius).double().mean() >= 0.97


def test_a_head_that_turns_to_its_left_shows_its_nose_farther_right(faces):
    eyes = faces.landmarks[:, :2].mean(1)
    offset = (faces.landmarks[:, 2] - eyes)[:, 0] / 112
    yaw, _, roll = faces.extras["pose"].T
    upright = roll.abs() < 5
    assert torch.corrcoef(torch.stack([offset[upright], yaw[upright]]))[0, 1] > 0.9


def test_a_tilted_head_tilts_the_line_of_the_eyes_by_the_same_angle(faces):
    right = faces.landmarks[:, 1] - faces.landmarks[:, 0]
    angle = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0]))
    yaw, _, roll = faces.extras["pose"].T
    ahead = yaw.abs() < 8
    assert (angle - roll)[ahead].abs().median() < 1.5


def test_a_dropped_jaw_opens_the_mouth(faces):
    jaw = faces.extras["actions"][:, reader.action_names().index("jawOpen")]
    eyes = (faces.landmarks[:, 1] - faces.landmarks[:, 0]).norm(dim=-1)
    mouth = (faces.extras["parts"] == reader.PARTS.index("mouth")).flatten(1).sum(1)
    assert torch.corrcoef(torch.stack([jaw, mouth / eyes**2]))[0, 1] > 0.5


def test_the_pack_is_small_and_free():
    assert reader.PACK.stat().st_size <= 25 * 2**20
    assert reader.describe_pack()["licence"] == "CC0-1.0"
    assert tuple(reader.describe_pack()["parts"].split()) == reader.PARTS
    assert len(reader.action_names()) == 52


def test_one_changed_byte_is_found(tmp_path):
    content = bytearray(reader.PACK.read_bytes())
    content[len(content) // 2] ^= 1
    copy = tmp_path / "synthfer.safetensors"
    copy.write_bytes(content)
    with pytest.raises(ValueError, match="install occfer again"):
        reader.checked(copy, reader.PACK_SHA256)


def test_a_missing_pack_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tools\.synthfer"):
        reader.checked(tmp_path / "none", reader.PACK_SHA256)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, val, test"):
        load_faces("synthfer", split="valid")


def test_smaller_pictures_keep_their_landmarks_on_the_same_spot():
    images = torch.zeros(1, 3, 112, 112, dtype=torch.uint8)
    images[:, :, 40:44, 60:64] = 255
    centre = torch.tensor([61.5, 41.5]).expand(1, 5, 2).contiguous()
    face = FaceSet(images, torch.tensor([0]), ["square"], centre)
    small = reader.resized(face, 56)
    light = small.images[0, 0].double()
    rows, columns = torch.meshgrid(torch.arange(56), torch.arange(56), indexing="ij")
    found = torch.stack([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    torch.testing.assert_close(found.float(), small.landmarks[0, 0], atol=1e-3, rtol=0)


def test_a_set_asked_for_at_another_size_has_it():
    assert load_faces("synthfer", split="val", size=48).size == (48, 48)


def test_the_pack_holds_nothing_that_the_splits_leave_out(faces):
    with safe_open(reader.PACK, "pt") as pack:
        assert pack.get_slice("label").get_shape() == [len(faces)]


@pytest.fixture(scope="module")
def mtcnn_errors(faces):
    """What MTCNN makes of every ninth face: its five points' distances from the mesh's.

    In shares of the distance of the eyes, [found, 5]; and how many faces were shown.
    """
    facenet = pytest.importorskip("facenet_pytorch", reason="needs MTCNN from facenet-pytorch")
    detector = facenet.MTCNN(keep_all=False, device="cpu")
    sample = faces[:: max(len(faces) // 60, 1)]
    pad, scale, errors = 28, 4, []
    for image, truth in zip(sample.images, sample.landmarks, strict=True):
        # MTCNN wants surroundings that the crop has not, and counts in whole pixels.
        wide = np.pad(image.permute(1, 2, 0).numpy(), ((pad, pad), (pad, pad), (0, 0)), "edge")
        side = scale * len(wide)
        large = np.asarray(Image.fromarray(wide).resize((side, side), Image.Resampling.BICUBIC))
        boxes, _, points = detector.detect(large, landmarks=True)
        if boxes is not None:
            found = (torch.tensor(np.array(points.tolist()))[0] + 0.5) / scale - 0.5 - pad
            between = (truth[1] - truth[0]).norm()
            errors.append((found - truth).norm(dim=-1) / between)
    return torch.stack(errors), len(sample)


@pytest.mark.slow
def test_mtcnn_finds_nearly_every_face_about_where_the_mesh_says_it_is(mtcnn_errors):
    errors, shown = mtcnn_errors
    assert len(errors) >= 0.98 * shown
    assert errors.median() <= 0.08


@pytest.mark.slow
@pytest.mark.xfail(reason="the goal of the full set, which the first draft misses")
def test_mtcnn_agrees_within_a_twentieth_of_the_distance_of_the_eyes(mtcnn_errors):
    errors, _ = mtcnn_errors
    assert errors.median() <= 0.05
