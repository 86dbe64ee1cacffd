"""Numberings of FER2013, RAF-DB and FER+, checked against their authors' readme files."""

import pytest

from occfer import emotions
from occfer.emotions import EMOTIONS, emotion_index, from_fer2013, from_ferplus, from_rafdb


def test_the_library_counts_as_fer2013_does():
    names = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    assert names == EMOTIONS
    assert [from_fer2013(number) for number in range(7)] == list(range(7))


def test_rafdb_counts_from_surprise_which_is_one():
    readme = {
        1: "surprise",
        2: "fear",
        3: "disgust",
        4: "happiness",
        5: "sadness",
        6: "anger",
        7: "neutral",
    }
    assert {number: EMOTIONS[from_rafdb(number)] for number in readme} == readme


def test_ferplus_counts_from_neutral_and_its_contempt_is_none_of_the_seven():
    header = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"]
    assert [EMOTIONS[from_ferplus(number)] for number in range(7)] == header
    assert emotions.FERPLUS[7] == "contempt"
    assert from_ferplus(7) == emotions.UNLABELLED == -1


@pytest.mark.parametrize(
    ("convert", "numbers"),
    [(from_fer2013, (-1, 7)), (from_rafdb, (0, 8)), (from_ferplus, (-1, 8))],
)
def test_a_number_outside_the_range_is_an_error_that_names_it(convert, numbers):
    for number in numbers:
        with pytest.raises(ValueError, match=rf"got {number}\."):
            convert(number)


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        ("angry", "anger"),
        ("Anger", "anger"),
        ("disgusted", "disgust"),
        ("fearful", "fear"),
        ("HAPPY", "happiness"),
        (" happiness ", "happiness"),
        ("sad", "sadness"),
        ("surprised", "surprise"),
        ("neutral", "neutral"),
    ],
)
def test_common_folder_names_are_understood(word, emotion):
    assert emotion_index(word) == EMOTIONS.index(emotion)
    assert emotions.is_emotion(word)


@pytest.mark.parametrize("word", ["contempt", "", "1", "happy faces"])
def test_an_unknown_word_is_an_error_that_names_it(word):
    assert not emotions.is_emotion(word)
    with pytest.raises(ValueError, match=repr(word)):
        emotion_index(word)
