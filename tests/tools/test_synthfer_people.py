"""Who and what the renderer draws: prototypes, people, and the same faces from the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from occfer.emotions import EMOTIONS
from tools.synthfer import expression
from tools.synthfer.facs import ACTION_UNITS, BOTH, PROTOTYPES, actions_of
from tools.synthfer.identity import draw_identity, split_of

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
def test_splits_are_disjoint_and_a_fifth_is_test(identities):
    splits = Counter(split_of(index, identities)[0] for index in range(identities))
    assert splits["test"] == identities // 5
    assert sum(splits.values()) == identities
    places = [split_of(index, identities) for index in range(identities)]
    assert len(set(places)) == identities


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


@pytest.mark.slow
def test_the_same_seed_renders_the_same_pixels_in_any_order(tmp_path_factory):
    pytest.importorskip("anny", reason="needs anny, the extra synthfer")
    mitsuba = pytest.importorskip("mitsuba", reason="needs mitsuba, the extra synthfer")
    mitsuba.set_variant("scalar_rgb")
    from tools.synthfer.face import Studio
    from tools.synthfer.head import load_head

    head = load_head(Path(tmp_path_factory.mktemp("synthfer")) / "head.npz")
    one, other = Studio(head, 5, 40, samples=4), Studio(head, 5, 40, samples=4)
    first = one.face(3, 2)
    other.face(8, 1)
    again = other.face(3, 2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.parts, again.parts)
    assert np.array_equal(first.landmarks, again.landmarks)
    assert not np.array_equal(first.image, one.face(3, 3).image)
