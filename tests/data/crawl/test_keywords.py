"""Twenty emotion words times three identity words, twice."""

import re
from pathlib import Path

import pytest

from occfer.data.crawl import keywords, read_keywords
from occfer.data.crawl.keywords import EMOTION_WORDS, IDENTITY_WORDS

# §3.1, as the paper prints them.
OF_THE_PAPER = [
    "开心",
    "微笑",
    "大笑",
    "有趣",
    "悲伤",
    "哭泣",
    "惊讶",
    "生气",
    "厌恶",
    "恐惧",
    "恐怖",
]


def test_the_lists_are_the_papers_with_nine_words_more() -> None:
    assert list(EMOTION_WORDS["zh"][:11]) == OF_THE_PAPER
    assert list(IDENTITY_WORDS["zh"]) == ["小孩子", "女人", "男人"]
    for language in ("en", "zh"):
        assert len(set(EMOTION_WORDS[language])) == 20
        assert len(set(IDENTITY_WORDS[language])) == 3
        script = r"[a-z]+" if language == "en" else r"[\u4e00-\u9fff]+"
        words = EMOTION_WORDS[language] + IDENTITY_WORDS[language]
        assert [word for word in words if not re.fullmatch(script, word)] == []


def test_every_emotion_goes_with_every_identity() -> None:
    assert len(set(keywords("en"))) == len(set(keywords("zh"))) == 60
    assert keywords() == keywords("en") + keywords("zh")
    assert keywords("en")[:4] == ("happy child", "happy woman", "happy man", "smile child")
    assert keywords("zh")[0] == "开心 小孩子"


def test_a_list_of_ones_own_is_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffhappy  child\n\n# ours\n 开心 男人 # a remark\nhappy child\n", "utf-8")
    assert read_keywords(path) == ("happy child", "开心 男人")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "holds none"), (b"# only remarks\n\n", "holds none"), (b"\xff\xfeh\0", "UTF-8 text")],
)
def test_a_file_without_keywords_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"words\.txt should .*{said}"):
        read_keywords(path)
