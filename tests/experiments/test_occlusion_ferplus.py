"""Really occluded faces: small copies of FER2013, FER+ and RAN's list, and the record itself."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from occfer.cli import main
from occfer.data.ferplus import COLUMNS
from occfer.emotions import EMOTIONS, FERPLUS
from occfer.engine.evaluate import Predictions, mcnemar
from occfer.engine.records import Record, make_record
from occfer.experiments import occlusion_ferplus
from occfer.experiments.occlusion_ferplus import (
    LABELS,
    comparison,
    measure,
    pairs_as_markdown,
    sides_of,
)
from occfer.experiments.study import Study
from occfer.recipes import as_dict, finetuning

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
HAPPY, FEAR, SURPRISE, NEUTRAL = map(EMOTIONS.index, ("happiness", "fear", "surprise", "neutral"))

# Of each test face: FER2013's label, FER+'s votes, and the class on the list, if it is there.
FACES = (
    *[(HAPPY, {"happiness": 10}, "happiness")] * 6,
    *[(FEAR, {"surprise": 9}, "surprise")] * 3,
    (FEAR, {"contempt": 9}, "contempt"),
    *[(HAPPY, {"happiness": 9}, None)] * 10,
    *[(FEAR, {"fear": 8}, None)] * 6,
    *[(SURPRISE, {"surprise": 8}, None)] * 3,
    *[(NEUTRAL, {"neutral": 4, "sadness": 4}, None)] * 4,
    *[(NEUTRAL, {"neutral": 8}, None)] * 5,
    (NEUTRAL, {"contempt": 9}, None),  # people agree about it, if on none of the seven
)
IDS = tuple(f"PrivateTest_row{row:05d}" for row in range(len(FACES)))
LISTED = tuple(row for row, (*_, name) in enumerate(FACES) if name)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FER2013 as a table, FER+'s own file and RAN's list, as their users have them."""
    monkeypatch.setenv("OCCFER_CACHE", str(tmp_path / "cache"))
    table = [["emotion", "Usage", "pixels"]]
    named = [["Usage", "Image name", *COLUMNS]]
    lines = []
    for row, (label, votes, listed) in enumerate(FACES):
        table.append([label, "PrivateTest", " ".join([str(row)] * 48 * 48)])
        cast = [votes.get(column, 0) for column in COLUMNS]
        named.append(["PrivateTest", f"fer{row:07d}.png", *cast])
        if listed:
            lines.append(f"{FERPLUS.index(listed)}/fer{row:07d}.jpg")
    for file, rows in (("fer2013.csv", table), ("fer2013new.csv", named)):
        with (tmp_path / file).open("w", newline="") as text:
            csv.writer(text).writerows(rows)
    (tmp_path / "jianfei_occlusion_list.txt").write_text("\n".join(reversed(lines)))
    return tmp_path


def keep(results: Path, row: str, seed: int, said: np.ndarray, ids: tuple[str, ...] = IDS) -> Path:
    """A record of Table 1 with these answers."""
    targets = np.array([label for label, *_ in FACES])
    predictions = Predictions(ids, targets, np.eye(7, dtype=np.float32)[said])
    name = Study("fer2013", "smoke").name(row, seed)
    recipe = as_dict(finetuning("smoke", seed=seed))
    return make_record("table1", name, recipe, {}, [], 0.0, predictions, "smoke").save(results)


ALWAYS_HAPPY = np.full(len(FACES), HAPPY)
AS_FER2013 = np.array([label for label, *_ in FACES])
SURPRISED = np.where(AS_FER2013 == FEAR, SURPRISE, AS_FER2013)


def study(root: Path, data: str = "fer2013") -> Study:
    return Study(data, "smoke", root / "results")


def measured(root: Path) -> Record:
    return measure(study(root), root, check_counts=False)


def seed(record: Record, labels: str, row: str, number: int = 0) -> dict:
    return record.values["labels"][labels]["rows"][row]["seeds"][str(number)]


def test_every_number_of_one_network_by_hand(root: Path) -> None:
    """It says happiness of every face."""
    keep(root / "results", "Res18-scratch", 0, ALWAYS_HAPPY)
    record = measured(root)
    for labels, occluded, others, matched in (
        ("fer2013", 6 / 10, 10 / 29, 6 / 10),  # happy ones are always right, others never
        ("ferplus", 6 / 9, 10 / 24, 6 / 9),  # the one of contempt and the four undecided are out
        ("agreed", 6 / 6, 10 / 24, 6 / 6),
    ):
        found = seed(record, labels, "Res18-scratch")
        assert found["occluded"]["accuracy"] == pytest.approx(occluded)
        assert found["others"]["accuracy"] == pytest.approx(others)
        low, high = found["occluded"]["accuracy_interval_95"]
        assert low < occluded <= high
        fall = found["fall"]
        assert fall["others"]["points"] == pytest.approx(100 * (others - occluded))
        assert fall["matched"]["points"] == pytest.approx(100 * (matched - occluded))
    assert seed(record, "fer2013", "Res18-scratch")["occluded"]["balanced_accuracy"] == 0.5
    assert record.values["agreement"] == pytest.approx({"occluded": 6 / 9, "others": 1})


def test_the_faces_are_counted_and_the_list_is_not_copied(root: Path) -> None:
    keep(root / "results", "Res18-scratch", 0, ALWAYS_HAPPY)
    record = measured(root)
    counts = record.values["labels"]["fer2013"]["faces"]
    assert {part: sum(of.values()) for part, of in counts.items()} == {
        "occluded": 10, "others": 29, "matched": 25,
    }  # fmt: skip
    assert record.values["labels"]["ferplus"]["faces"]["occluded"]["surprise"] == 3
    assert record.values["data"]["occluded"]["count"] == 10
    assert record.values["data"]["occluded"]["unlabelled"] == 1
    text = (root / "results" / "occlusion-ferplus" / "fer2013-smoke.json").read_text()
    assert not any(identifier in text for identifier in IDS)
    assert not (root / "results" / "occlusion-ferplus" / "fer2013-smoke.npz").exists()


def test_the_list_s_order_means_nothing_but_its_content_is_hashed(root: Path) -> None:
    keep(root / "results", "Res18-scratch", 0, ALWAYS_HAPPY)
    first = measured(root)
    path = root / "jianfei_occlusion_list.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(sorted(lines)))
    assert measured(root).values["labels"] == first.values["labels"]
    path.write_text("\n".join(lines[1:]))
    hashes = [each.values["data"]["occluded"]["sha256"] for each in (first, measured(root))]
    assert hashes[0] != hashes[1]


def test_labels_of_the_list_go_before_fer2013_s(root: Path) -> None:
    """Whoever says surprise of the listed faces is right by FER+ and wrong by FER2013."""
    keep(root / "results", "Res18-scratch", 0, SURPRISED)
    keep(root / "results", "OCL+Res18", 0, AS_FER2013)
    record = measured(root)
    assert seed(record, "ferplus", "Res18-scratch")["occluded"]["accuracy"] == 1
    assert seed(record, "fer2013", "Res18-scratch")["occluded"]["accuracy"] == pytest.approx(0.6)
    assert seed(record, "ferplus", "OCL+Res18")["occluded"]["accuracy"] == pytest.approx(6 / 9)
    assert seed(record, "fer2013", "OCL+Res18")["occluded"]["accuracy"] == 1
    for labels in LABELS:
        for row in ("Res18-scratch", "OCL+Res18"):
            found = seed(record, labels, row)
            lost = found["others"]["accuracy"] - found["occluded"]["accuracy"]
            assert found["fall"]["others"]["points"] == pytest.approx(100 * lost)


def test_a_listed_face_has_the_list_s_label_whatever_its_votes_say() -> None:
    occluded = np.array([True, False, True, False])
    sides = sides_of(
        fer2013=np.array([0, 0, 3, 3]), ferplus=np.array([0, 1, 1, -1]),
        listed=np.array([1, -1, 3, -1]), occluded=occluded, clear=np.ones(4, bool),
    )  # fmt: skip
    assert {name: each.labels.tolist() for name, each in sides.items()} == {
        "fer2013": [0, 0, 3, 3], "ferplus": [1, 1, 3, -1], "agreed": [-1, -1, 3, -1],
    }  # fmt: skip


def test_seeds_are_averaged_and_rows_compared_on_the_listed_faces_alone(root: Path) -> None:
    results = root / "results"
    worse = AS_FER2013.copy()
    worse[[row for row in range(len(FACES)) if row not in LISTED]] = NEUTRAL
    most = np.where(np.arange(len(FACES)) % 3, AS_FER2013, (AS_FER2013 + 1) % 7)
    for number, said in enumerate((AS_FER2013, most)):
        keep(results, "OCL+Res18", number, said)
    for number, said in enumerate((worse, ALWAYS_HAPPY, most)):
        keep(results, "Res18-scratch", number, said)
    found = measured(root).values["labels"]["fer2013"]
    rows = found["rows"]
    for row in rows.values():
        for against, fall in row["fall"].items():
            each = [one["fall"][against]["points"] for one in row["seeds"].values()]
            assert fall["points"] == pytest.approx(np.mean(each))
            ends = stats.t.interval(0.95, len(each) - 1, np.mean(each), stats.sem(each))
            assert fall["over_seeds_95"] == pytest.approx(ends)
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == ("OCL+Res18", "Res18-scratch")
    told = comparison(pair)
    # Seed 0 is right on all ten of both rows, and what differs elsewhere does not count.
    assert (told.only_first[0], told.only_second[0], told.p_by_seed[0]) == (0, 0, 1)
    listed = np.isin(np.arange(len(FACES)), LISTED)
    ours, theirs = (said == AS_FER2013 for said in (most, ALWAYS_HAPPY))
    assert told.only_first[1] == (ours & ~theirs)[listed].sum()
    assert told.only_second[1] == (theirs & ~ours)[listed].sum()
    assert sorted(told.differences) == [0, 1]
    # Of a pair, too, only the shared seeds are in the difference of the falls.
    shared = [rows[row]["seeds"][n]["fall"] for row in rows for n in ("0", "1")]
    falls = [each["others"]["points"] for each in shared]
    assert list(rows) == ["OCL+Res18", "Res18-scratch"]
    expected = np.mean(falls[:2]) - np.mean(falls[2:])
    assert pair["fall"]["others"]["points"] == pytest.approx(expected)


def test_a_pair_is_a_line_with_both_of_its_questions() -> None:
    """Right on more covered faces with both seeds, and more lost than the other rows lose."""
    occluded = {
        "differences": {"0": 2.0, "1": 4.0}, "only_first": {"0": 30, "1": 40},
        "only_second": {"0": 10, "1": 5}, "p_by_seed": {"0": 0.01, "1": 0.001},
        "p_faces": 0.001, "interval_faces": [1.0, 5.0],
    }  # fmt: skip
    fall = {"matched": {"points": 1.5, "interval_95": [-1, 4]}}
    one = dict(first="A", second="B", occluded=occluded, fall=fall)
    kept = {name: {"0": each["0"]} for name, each in occluded.items() if isinstance(each, dict)}
    alone = dict(kept, p_faces=0.2, interval_faces=None)
    other = dict(first="B", second="C", occluded=alone, fall=fall)
    record = Record({"labels": {"agreed": {"pairs": [one, other]}}})
    head, _, *lines = pairs_as_markdown(record, "agreed").splitlines()
    cells = [line.strip("| ").split(" | ") for line in (head, *lines)]
    assert cells[0][-2] == "loses more (+) or less (-)"
    # With two seeds Student's t reaches 12.71 standard errors, and one such error is 1 here.
    assert cells[1] == [
        "A against B", "2", "+3.00", "-9.71 to +15.71", "+1.00 to +5.00",
        "ahead with these networks", "+1.50", "-1.00 to +4.00",
    ]  # fmt: skip
    assert cells[2][1:6] == ["1", "+2.00", "–", "–", "not told apart"]


def test_a_row_that_was_not_run_is_not_there(root: Path) -> None:
    assert occlusion_ferplus.recorded(study(root)) is None
    keep(root / "results", "Res18-scratch", 0, ALWAYS_HAPPY)
    measured(root)
    record = occlusion_ferplus.recorded(study(root))
    found = record.values["labels"]["fer2013"]
    assert list(found["rows"]) == ["Res18-scratch"]
    assert found["pairs"] == []
    assert found["rows"]["Res18-scratch"]["fall"]["others"]["over_seeds_95"] is None
    table = occlusion_ferplus.as_markdown(record, "fer2013").splitlines()
    assert len({line.count("|") for line in table}) == 1
    row, *cells, balanced = table[2].strip("| ").split(" | ")
    assert (row, *cells[:4]) == ("Res18-scratch", "1", "60.00", "34.48", "-25.52")
    low, high = map(float, cells[4].split(" to "))
    assert low < -25.52 < high
    # As many of the happy and none of the others are right on either side; of two classes there
    # that is a half, of four here a quarter.
    assert [float(each) for each in (cells[5], *cells[6].split(" to "))] == [0, 0, 0]
    assert balanced == "-25.00"


def test_what_cannot_be_scored_is_said(root: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="run occfer reproduce table1 --data fer2013 first"):
        measured(root)
    with pytest.raises(ValueError, match=r"stand in FER2013, got 'synthfer'; pass --data fer2013"):
        measure(study(root, "synthfer"), root)
    elsewhere = tuple(f"test/fear/PrivateTest_{row}" for row in range(len(FACES)))
    keep(root / "results", "Res18-scratch", 0, ALWAYS_HAPPY, elsewhere)
    with pytest.raises(
        ValueError, match=r"39 test faces at hand.*but its 39 begin with 'test/fear"
    ):
        measured(root)
    with pytest.raises(SystemExit, match=r"test split \(PrivateTest\) must hold 3,589 faces"):
        main(["reproduce", "occlusion-ferplus", "--data", "fer2013", "--root", str(root)])


@pytest.fixture
def record() -> Record:
    return occlusion_ferplus.recorded(Study("fer2013", "laptop", RESULTS))


def test_the_record_is_of_the_predictions_beside_it(record: Record) -> None:
    for name, sha256 in record.values["predictions"].items():
        path = RESULTS / "table1" / f"{name}.npz"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, name


def test_the_record_s_two_parts_make_up_the_accuracies_of_table_1(record: Record) -> None:
    """Who has no list can still tell that the parts add up to the whole."""
    test = record.values["data"]["test"]
    found = record.values["labels"]["fer2013"]
    assert record.values["data"]["occluded"]["count"] == 605
    assert found["faces"]["occluded"].keys() == test["counts"].keys()
    for emotion, count in test["counts"].items():
        assert count == sum(found["faces"][part][emotion] for part in ("occluded", "others"))
    for row, of in found["rows"].items():
        for number, parts in of["seeds"].items():
            path = Study("fer2013", "laptop", RESULTS).record(row, int(number))
            whole = json.loads(path.read_text())
            assert whole["data"]["test"]["sha256"] == test["sha256"]
            hits = sum(
                parts[part]["accuracy"] * parts[part]["count"] for part in ("occluded", "others")
            )
            assert hits / test["count"] == pytest.approx(whole["metrics"]["accuracy"])
    for each in record.values["labels"].values():
        for of in each["rows"].values():
            for parts in of["seeds"].values():
                lost = parts["others"]["accuracy"] - parts["occluded"]["accuracy"]
                assert parts["fall"]["others"]["points"] == pytest.approx(100 * lost)


@pytest.mark.slow
def test_the_record_comes_back_from_the_real_list(
    record: Record, shared_data: Path, tmp_path: Path
) -> None:
    """And its pairs are McNemar's on the real faces."""
    for name in record.values["predictions"]:
        for path in (RESULTS / "table1").glob(f"{name}.*"):
            (tmp_path / "table1").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "table1")
    again = measure(Study("fer2013", "laptop", tmp_path), shared_data).values
    assert again["data"] == record.values["data"]
    assert again["predictions"] == record.values["predictions"]
    for labels in LABELS:
        for key in ("faces", "rows", "pairs"):
            assert _flat(again["labels"][labels][key]) == pytest.approx(
                _flat(record.values["labels"][labels][key])
            )
    with (shared_data / "occlusion_ferplus.csv").open() as file:
        listed = {row["path"].removesuffix(".jpg") for row in csv.DictReader(file)}
    for pair in record.values["labels"]["fer2013"]["pairs"]:
        for number, p in comparison(pair).p_by_seed.items():
            each = [
                Predictions.load(
                    RESULTS / "table1" / f"fer2013-laptop-{pair[row]}-seed{number}.npz"
                )
                for row in ("first", "second")
            ]
            chosen = [one.among(np.array([name in listed for name in one.ids])) for one in each]
            assert mcnemar(*chosen)[2] == pytest.approx(p)


def _flat(values: object, at: str = "") -> dict[str, object]:
    if isinstance(values, dict):
        parts = values.items()
    elif isinstance(values, list):
        parts = enumerate(values)
    else:
        return {at: values}
    return {key: each for name, part in parts for key, each in _flat(part, f"{at}/{name}").items()}
