"""Who is drawn: the parameters of one person, from (seed, identity index) alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "val", "test")
SHADES = 10
AGE_BANDS = ((18, 30), (30, 45), (45, 60), (60, 78))  # years
HAIR_STYLES = ("bald", "buzz", "short", "volume", "afro", "long", "tied", "beanie", "scarf")

IRISES = {  # linear RGB; shares below
    "brown": (0.075, 0.03, 0.012),
    "dark": (0.03, 0.014, 0.008),
    "hazel": (0.12, 0.075, 0.022),
    "green": (0.10, 0.13, 0.05),
    "blue": (0.09, 0.17, 0.30),
    "grey": (0.16, 0.19, 0.21),
}
HAIRS = {
    "black": (0.008, 0.007, 0.007),
    "dark brown": (0.022, 0.012, 0.008),
    "brown": (0.055, 0.028, 0.015),
    "chestnut": (0.10, 0.038, 0.016),
    "blond": (0.30, 0.19, 0.085),
    "red": (0.22, 0.065, 0.02),
}


@dataclass
class Identity:
    """One person. ``gender`` is MakeHuman's slider (0 male, 1 female); ``age`` in years;
    ``shade`` 0-9 on the Monk scale; colours are linear RGB [3]; ``brow`` is (lift, arch,
    half thickness) in cm; ``lipstick`` is RGB and coverage."""

    index: int
    split: str
    shade: int
    gender: float
    age: float
    phenotype: dict[str, float]
    local: dict[str, float]
    tint: np.ndarray
    blood: float
    freckles: float
    eye_shadow: float
    eyeliner: float
    lipstick: np.ndarray
    beard: float
    scalp: float
    hair: str
    hair_colour: np.ndarray
    hair_length: float
    cap_colour: np.ndarray
    brow: tuple[float, float, float]
    brow_colour: np.ndarray
    iris: np.ndarray
    pupil: float
    teeth: np.ndarray
    glasses: dict[str, object] | None
    texture_seed: int
    asymmetry: np.ndarray = field(repr=False)


def split_of(index: int, identities: int) -> tuple[str, int]:
    """The split of identity ``index`` of ``identities``, and its place in that split.

    A fifth is test, and 15 % of the rest val (of 500: 340 train, 60 val, 100 test).
    """
    test = identities // 5
    val = round(0.15 * (identities - test))
    train = identities - test - val
    if index < train:
        return "train", index
    if index < train + val:
        return "val", index - train
    return "test", index - train - val


def draw_identity(seed: int, index: int, identities: int) -> Identity:
    """Draw identity ``index``; shade, gender and age band are spread evenly in each split."""
    split, place = split_of(index, identities)
    block = np.random.default_rng([seed, SPLITS.index(split), place // 20, 1])
    # Every 20 people of a split hold each shade twice, once a gender, and each age band 5 times.
    order = block.permutation(20)
    bands = block.permutation(np.repeat(np.arange(4), 5))
    if place // 20 * 20 + 20 > _count(split, identities):
        # The last, incomplete block alternates instead, so that a small split is even too.
        order = np.array([2 * (i % 10) + (i + i // 10) % 2 for i in range(20)])
        bands = np.array([(3 * i) % 4 for i in range(20)])
    slot = int(order[place % 20])
    shade, female = slot // 2, slot % 2
    rng = np.random.default_rng([seed, index, 0])
    age = float(rng.uniform(*AGE_BANDS[bands[place % 20]]))
    gender = float(np.clip(rng.normal(0.9, 0.08) if female else rng.normal(0.1, 0.08), 0, 1))

    race = rng.dirichlet([0.6, 0.6, 0.6])
    tilt = np.array([shade, 5.0 - abs(shade - 4), 9.0 - shade]) / 9
    race = race * (tilt + 0.15)
    race /= race.sum()
    phenotype = {
        "gender": gender,
        "age": 0.62 + (age - 18) * (0.38 / 70),
        "muscle": float(rng.uniform(0.3, 0.75)),
        "weight": float(np.clip(rng.normal(0.5, 0.2), 0.1, 0.95)),
        "height": 0.5,
        "proportions": float(rng.uniform(0.5, 1.0)),
        "african": float(race[0]),
        "asian": float(race[1]),
        "caucasian": float(race[2]),
    }
    grey = np.clip((age - 45) / 35 + rng.normal(0, 0.25), 0, 1) if age > 38 else 0.0
    names = list(HAIRS)
    weights = (
        np.array([0.30, 0.25, 0.18, 0.10, 0.12, 0.05]) if shade < 5 else
        np.array([0.62, 0.3, 0.08, 0, 0, 0])
    )  # fmt: skip
    hair_name = str(rng.choice(names, p=weights))
    pigment = np.array(HAIRS[hair_name]) * rng.uniform(0.8, 1.25)
    hair_colour = pigment * (1 - grey) + np.array([0.38, 0.37, 0.36]) * grey
    styles = (
        {"long": 0.33, "tied": 0.2, "volume": 0.17, "short": 0.12, "afro": 0.06, "scarf": 0.07,
         "beanie": 0.05}
        if female
        else {"short": 0.46, "buzz": 0.18, "bald": 0.10, "volume": 0.12, "afro": 0.05,
              "beanie": 0.09}
    )  # fmt: skip
    if shade >= 6:
        styles = {**styles, "afro": styles["afro"] + 0.2, "buzz": styles.get("buzz", 0) + 0.1}
    chance = np.array(list(styles.values()))
    hair = str(rng.choice(list(styles), p=chance / chance.sum()))
    iris_p = [0.3, 0.1, 0.15, 0.12, 0.23, 0.1] if shade < 4 else [0.45, 0.5, 0.05, 0, 0, 0]
    iris = np.array(IRISES[str(rng.choice(list(IRISES), p=iris_p))]) * rng.uniform(0.8, 1.25)
    brow_colour = 0.75 * pigment * (1 - 0.7 * grey) + np.array([0.085, 0.08, 0.075]) * grey
    brow_colour = np.clip(brow_colour, 0.006, [0.12, 0.085, 0.07])
    if female and rng.random() < 0.4:
        stick = np.array(
            [*(rng.uniform(0.6, 1.2) * (1 - 0.07 * shade) * np.array([0.42, 0.05, 0.07])), 0.0]
        )
        stick[3] = rng.uniform(0.3, 0.75)
    else:
        stick = np.zeros(4)
    beard = 0.0 if female else float(rng.choice([0.0, 0.12, 0.3, 0.75, 0.92],
                                                p=[0.35, 0.2, 0.17, 0.15, 0.13]))  # fmt: skip
    spectacles = None
    if rng.random() < 0.18:
        metal = rng.random() < 0.4
        spectacles = {
            "colour": rng.uniform(0.15, 0.5) * np.ones(3) if metal else
            0.06 * rng.dirichlet([2, 1, 1]) + 0.004,
            "width": float(rng.uniform(2.25, 2.75)),
            "height": float(rng.uniform(1.5, 2.1)),
            "squareness": float(rng.uniform(2.0, 3.6)),
            "thickness": float(rng.uniform(0.08, 0.12) if metal else rng.uniform(0.14, 0.24)),
        }  # fmt: skip
    return Identity(
        index=index,
        split=split,
        shade=shade,
        gender=gender,
        age=age,
        phenotype=phenotype,
        local=_draw_face_shape(rng, age),
        tint=1 + rng.normal(0, 0.015, 3),
        blood=float(rng.uniform(0.5, 1.2)),
        freckles=float(rng.uniform(0.15, 0.5)) if shade < 4 and rng.random() < 0.25 else 0.0,
        eye_shadow=float(rng.uniform(0.2, 1.0)),
        eyeliner=float(rng.uniform(0.3, 0.8)) if female and rng.random() < 0.4 else 0.0,
        lipstick=stick,
        beard=beard,
        scalp={"bald": 0.0, "buzz": 0.75, "scarf": 0.9, "beanie": 0.9}.get(hair, 0.95),
        hair=hair,
        hair_colour=hair_colour,
        hair_length=float(rng.uniform(0.7, 1.3)),
        cap_colour=rng.uniform(0.02, 0.5) * rng.dirichlet([1.5, 1.5, 1.5]) * 2,
        brow=(
            float(rng.normal(0, 0.12)),
            float(rng.uniform(-0.1, 0.15) if female else rng.uniform(-0.2, 0.05)),
            float(rng.uniform(0.22, 0.36) if female else rng.uniform(0.32, 0.5)),
        ),
        brow_colour=brow_colour,
        iris=iris,
        pupil=float(rng.uniform(0.3, 0.48)),
        teeth=np.array([0.60, 0.56, 0.48]) * rng.uniform(0.85, 1.1),
        glasses=spectacles,
        texture_seed=int(rng.integers(2**31)),
        asymmetry=rng.normal(1, 0.06, 52),
    )


def _count(split: str, identities: int) -> int:
    return sum(split_of(i, identities)[0] == split for i in range(identities))


# Local changes of MakeHuman and the standard deviation they are drawn with. Names starting with
# "*" stand for the left and right one, moved together but for a little asymmetry.
SHAPE_SPREAD = {
    "head-fat-incr": 0.35, "head-scale-horiz-incr": 0.3, "head-scale-vert-incr": 0.25,
    "head-angle-out": 0.25, "head-back-scale-depth-incr": 0.3, "forehead-scale-vert-incr": 0.3,
    "forehead-trans-forward": 0.2, "forehead-temple-incr": 0.3, "chin-width-incr": 0.4,
    "chin-height-incr": 0.35, "chin-prominent-incr": 0.4, "chin-bones-incr": 0.4,
    "chin-jaw-drop-incr": 0.3, "chin-cleft-incr": 0.25, "eyebrows-trans-forward": 0.3,
    "eyebrows-angle-up": 0.15, "nose-scale-horiz-incr": 0.4, "nose-scale-depth-incr": 0.3,
    "nose-scale-vert-incr": 0.3, "nose-hump-incr": 0.35, "nose-point-up": 0.35,
    "nose-width2-incr": 0.3, "nose-volume-incr": 0.3, "nose-point-width-incr": 0.3,
    "nose-trans-up": 0.25, "mouth-scale-horiz-incr": 0.3, "mouth-upperlip-height-incr": 0.2,
    "mouth-lowerlip-height-incr": 0.2, "mouth-upperlip-volume-incr": 0.25,
    "mouth-lowerlip-volume-incr": 0.25, "mouth-cupidsbow-incr": 0.3, "mouth-trans-up": 0.25,
    "*-cheek-bones-incr": 0.45, "*-cheek-volume-incr": 0.35, "*-cheek-inner-incr": 0.3,
    "*-eye-scale-incr": 0.2, "*-eye-trans-out": 0.25, "*-eye-corner1-up": 0.2,
    "*-eye-corner2-up": 0.2, "*-eye-eyefold-up": 0.3, "*-eye-epicanthus-out": 0.3,
    "*-eye-bag-incr": 0.3, "*-ear-scale-incr": 0.3, "*-ear-wing-incr": 0.4,
    "neck-scale-horiz-incr": 0.25,
}  # fmt: skip


def _draw_face_shape(rng: np.random.Generator, age: float) -> dict[str, float]:
    old = np.clip((age - 35) / 40, 0, 1)
    mean = {
        "mouth-scale-horiz-incr": 0.3,
        "head-age-incr": 0.7 * old,
        "*-eye-bag-incr": 0.6 * old,
        # The rig's own lids hang low for a face that looks into a camera.
        "*-eye-height2-incr": 0.45,
    }
    out = {}
    for name, spread in {**SHAPE_SPREAD, "head-age-incr": 0.1, "*-eye-height2-incr": 0.15}.items():
        value = mean.get(name, 0.0) + rng.normal(0, spread)
        for side in ("l", "r") if name.startswith("*") else ("",):
            moved = value + (rng.normal(0, 0.06) if side else 0.0)
            out[name.replace("*", side)] = float(np.clip(moved, -1, 1))
    return out
