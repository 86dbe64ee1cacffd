"""What to search for: emotion words times identity words, in English and Chinese (§3.1).

The paper says "about 20" emotion words and three identity words and names eleven of the twenty:
the first eleven of each list here, in its order. The other nine are ours; they add the neutral
face, which the eleven lack, and second words for the strong emotions.
"""

from pathlib import Path
from typing import Literal

Language = Literal["en", "zh"]

# fmt: off
EMOTION_WORDS: dict[Language, tuple[str, ...]] = {
    "en": (
        "happy", "smile", "laugh", "funny", "sad", "cry", "surprised", "angry", "disgust", "fear",
        "horror",
        "calm", "expressionless", "furious", "shouting", "shocked", "scared", "nauseated",
        "dejected", "excited",
    ),
    "zh": (
        "开心", "微笑", "大笑", "有趣", "悲伤", "哭泣", "惊讶", "生气", "厌恶", "恐惧",
        "恐怖",
        "平静", "面无表情", "愤怒", "怒吼", "震惊", "害怕", "恶心",
        "沮丧", "兴奋",
    ),
}
# fmt: on
IDENTITY_WORDS: dict[Language, tuple[str, ...]] = {
    "en": ("child", "woman", "man"),
    "zh": ("小孩子", "女人", "男人"),
}


def keywords(*languages: Language) -> tuple[str, ...]:
    """Every emotion word with every identity word: 60 searches a language; by default both."""
    return tuple(
        f"{emotion} {identity}"
        for language in languages or ("en", "zh")
        for emotion in EMOTION_WORDS[language]
        for identity in IDENTITY_WORDS[language]
    )


def read_keywords(path: Path) -> tuple[str, ...]:
    """The searches in a UTF-8 text file, one a line; blank lines and ``# remarks`` are left out.

    Raises:
        ValueError: it is no UTF-8 text, or holds no keyword.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} should be UTF-8 text, one keyword a line: {error}.") from error
    found = (" ".join(line.split("#")[0].split()) for line in lines)
    unique = tuple(dict.fromkeys(keyword for keyword in found if keyword))
    if not unique:
        raise ValueError(f"{path} should hold one keyword a line, but holds none.")
    return unique
