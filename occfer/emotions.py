"""The seven expressions, and how every data set of §3.1 numbers them.

The library counts as FER2013 does. Every other numbering, and every word for an expression, is
mapped to it here and nowhere else.
"""

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Class names; a face's label is its place in this tuple, from 0 to 6."""

UNLABELLED = -1
"""The label of a face that shows no known expression, or one outside the seven."""

RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's basic expressions; its files count them from 1."""

FERPLUS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""FER+'s expressions, counted from 0; contempt is none of the seven."""

_SYNONYMS = {
    "anger": ("angry",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "scared", "afraid"),
    "happiness": ("happy", "joy"),
    "sadness": ("sad",),
    "surprise": ("surprised",),
    "neutral": ("neutrality",),
}
_INDEX = {
    word: EMOTIONS.index(emotion)
    for emotion, synonyms in _SYNONYMS.items()
    for word in (emotion, *synonyms)
}


def emotion_index(word: str) -> int:
    """The label of an expression named by a common word, such as the name of a class folder.

    Case and surrounding spaces do not matter: ``"Happy"`` and ``"happiness"`` are both 3.

    Raises:
        ValueError: the word names none of the seven.
    """
    index = _INDEX.get(word.strip().lower())
    if index is None:
        raise ValueError(
            f"{word!r} names none of the seven expressions; use one of {', '.join(EMOTIONS)} "
            f"or a common synonym such as angry, happy or sad."
        )
    return index


def is_emotion(word: str) -> bool:
    """Whether ``emotion_index`` knows the word."""
    return word.strip().lower() in _INDEX


def from_fer2013(number: int) -> int:
    """FER2013's number, 0 to 6, which is the library's own; anything else is an error."""
    return _in_range(number, 0, len(EMOTIONS), "FER2013")


def from_rafdb(number: int) -> int:
    """The label of RAF-DB's number, 1 (surprise) to 7 (neutral)."""
    return EMOTIONS.index(RAFDB[_in_range(number, 1, len(RAFDB), "RAF-DB") - 1])


def from_ferplus(number: int) -> int:
    """The label of FER+'s number, 0 (neutral) to 7; contempt gives ``UNLABELLED``."""
    name = FERPLUS[_in_range(number, 0, len(FERPLUS), "FER+")]
    return EMOTIONS.index(name) if name in EMOTIONS else UNLABELLED


def _in_range(number: int, first: int, count: int, data_set: str) -> int:
    if not first <= number < first + count:
        raise ValueError(
            f"{data_set} numbers its expressions from {first} to {first + count - 1}, got {number}."
        )
    return number
