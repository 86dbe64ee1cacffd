"""Who and what the renderer draws: prototypes, people, and the same faces from the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from occfer.data.synthfer import action_names
from occfer.emotions import EMOTIONS
from tools.synthfer import expression, records, workers
from tools.synthfer.expression import draw_expression
from tools.synthfer.facs import ACTION_UNITS, BOTH, PROTOTYPES, actions_of
from tools.synthfer.identity import SPLITS, Identity, draw_identity, split_of

SIDELESS = sorted({name for unit in ACTION_UNITS.values() for name in unit})
NAMES = [
    name
    for bare in SIDELESS
    for name in ([bare] if bare in ("browInnerUp", "jawOpen", "mouthRollUpper", "mouthRollLower",
                                    "mouthShrugLower") else [bare + side for side in BOTH])
]  # fmt: skip

# Units without which nobody names the expression: Friesen and Ekman's EMFACS core.
CORE = {
    "anger": {"AU4", "AU7"},
    "disgust": {"AU9"},
    "fear": {"AU1", "AU2", "AU4", "AU5", "AU20"},
    "happiness": {"AU6", "AU12"},
    "sadness": {"AU1", "AU4", "AU15"},
    "surprise": {"AU1", "AU2", "AU5"},
    "neutral": set(),
}


def test_the_renderer_counts_the_classes_as_the_library_does():
    assert expression.EMOTIONS == EMOTIONS
    assert set(PROTOTYPES) == set(EMOTIONS)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_display_holds_the_core_of_its_emotion(emotion):
    for display in PROTOTYPES[emotion]:
        assert set(display) >= CORE[emotion] - ({"AU4"} if emotion == "surprise" else set())


def test_only_happiness_pulls_the_lip_corners_up():
    smiling = {
        emotion for emotion, displays in PROTOTYPES.items() if any("AU12" in d for d in displays)
    }
    assert smiling == {"happiness"}


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_displays_are_symmetric(emotion):
    for display in PROTOTYPES[emotion]:
        actions = dict(zip(NAMES, actions_of(display, NAMES), strict=True))
        for name, value in actions.items():
            if name.endswith("Left"):
                assert actions[name.removesuffix("Left") + "Right"] == value


@pytest.mark.parametrize("identities", [35, 80, 500])
def test_everybody_has_a_place_in_one_split_and_a_fifth_is_test(identities):
    splits = Counter(split_of(index, identities)[0] for index in range(identities))
    assert splits["test"] == identities // 5
    assert sum(splits.values()) == identities
    places = [split_of(index, identities) for index in range(identities)]
    assert len(set(places)) == identities


def test_of_five_hundred_people_340_train_and_60_validate():
    splits = Counter(split_of(index, 500)[0] for index in range(500))
    assert splits == {"train": 340, "val": 60, "test": 100}


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    return [draw_identity(2026, index, 500) for index in range(500)]


def test_everybody_shows_all_classes_and_each_split_all_of_them_equally_often(people):
    rng, names = np.random.default_rng(0), list(action_names())
    labels = np.array(
        [
            [draw_expression(rng, person, face, names).label for face in range(10)]
            for person in people
        ]
    )
    assert (np.sort(labels[:, :7]) == np.arange(7)).all()
    for split in SPLITS:
        own = labels[[person.split == split for person in people]]
        for faces in (7, 10):
            count = np.bincount(own[:, :faces].ravel(), minlength=len(EMOTIONS))
            assert count.max() - count.min() <= 1
        assert max(max(Counter(row).values()) for row in own.tolist()) == 2


def test_actions_stay_between_rest_and_full_strength(people):
    rng, names = np.random.default_rng(1), list(action_names())
    for person in people[:60]:
        for face in range(7):
            drawn = draw_expression(rng, person, face, names)
            assert drawn.actions.min() >= 0
            assert drawn.actions.max() <= 1
            neutral = EMOTIONS[drawn.label] == "neutral"
            assert drawn.intensity == 0 if neutral else 0.3 <= drawn.intensity <= 1
            assert (np.abs(drawn.pose) <= expression.MAX_POSE).all()


def test_a_rendering_that_stops_early_holds_everybodys_first_seven_before_anyones_eighth():
    todo = [(0, [2, 3, 7, 8]), (1, list(range(10)))]
    assert workers._pieces(todo) == [(0, [2, 3]), (1, [0, 1, 2, 3, 4, 5, 6]), (0, [7, 8]),
                                     (1, [7, 8, 9])]  # fmt: skip


@pytest.mark.parametrize("identities", [80, 500])
def test_every_split_has_all_shades_women_and_men_and_ages(identities):
    people = [draw_identity(7, index, identities) for index in range(identities)]
    for split in ("train", "val", "test"):
        shades = Counter(p.shade for p in people if p.split == split)
        women = Counter(p.gender > 0.5 for p in people if p.split == split)
        young = Counter(p.age < 45 for p in people if p.split == split)
        assert set(shades) == set(range(10))
        assert max(shades.values()) - min(shades.values()) <= 1
        assert abs(women[True] - women[False]) <= 2
        assert abs(young[True] - young[False]) <= 4


def test_shade_says_nothing_about_gender_or_age():
    people = [draw_identity(7, index, 500) for index in range(400)]
    table = np.array([[p.shade, p.gender > 0.5, p.age] for p in people], float)
    correlation = np.corrcoef(table.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.12


def test_a_person_depends_on_nothing_but_seed_and_index():
    one, other = draw_identity(3, 11, 80), draw_identity(3, 11, 80)
    assert repr(one) == repr(other)
    assert repr(one) != repr(draw_identity(4, 11, 80))
    assert repr(one) != repr(draw_identity(3, 12, 80))


@pytest.fixture(scope="module")
def head_file(tmp_path_factory) -> Path:
    """The head as the renderer keeps it; building it takes minutes."""
    pytest.importorskip("anny", reason="needs anny, the extra synthfer")
    pytest.importorskip("mitsuba", reason="needs mitsuba, the extra synthfer")
    from tools.synthfer.head import load_head

    path = tmp_path_factory.mktemp("synthfer") / "head.npz"
    load_head(path)
    return path


@pytest.mark.slow
def test_the_same_seed_renders_the_same_files_whatever_the_number_of_processes(head_file, tmp_path):
    recipe = {"seed": 5, "identities": 40, "per_identity": 10, "samples": 2}
    todo = [(3, [0, 5, 7]), (8, [1, 8])]
    for count, order in ((1, todo), (2, todo[::-1])):
        (tmp_path / str(count)).mkdir()
        (tmp_path / str(count) / "head.npz").symlink_to(head_file)
        workers.render_all(tmp_path / str(count), recipe, order, count)
    for person, faces in todo:
        for face in faces:
            one, two = (
                records.load(records.path_of(tmp_path / str(count), person, face))
                for count in (1, 2)
            )
            assert set(one) == set(two)
            for name, value in one.items():
                np.testing.assert_array_equal(value, two[name], err_msg=name)
    images = [
        records.load(records.path_of(tmp_path / "1", person, face))["image"]
        for person, faces in todo
        for face in faces
    ]
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.slow
def test_a_face_does_not_depend_on_the_faces_before_it(head_file):
    import mitsuba

    mitsuba.set_variant("llvm_ad_rgb")
    from tools.synthfer.face import Studio
    from tools.synthfer.head import load_head

    head = load_head(head_file)
    one, other = Studio(head, 5, 40, samples=2), Studio(head, 5, 40, samples=2)
    first = one.face(3, 2)
    other.face(8, 1)
    again = other.face(3, 2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.parts, again.parts)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(first.image, one.face(3, 3).image)
    assert not np.array_equal(first.image, Studio(head, 6, 40, samples=2).face(3, 2).image)
