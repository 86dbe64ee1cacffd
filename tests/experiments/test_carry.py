"""Networks in small files: what goes in comes out, in precision, number and place."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfer.engine.finetune import build_classifier
from occfer.engine.models import load_model, save_model
from occfer.engine.pretrain import build_encoder
from occfer.experiments import carry
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe

SMALL = NetworkRecipe(width=8, stem="small", size=24)


@pytest.fixture
def encoder_run(tmp_path: Path) -> Path:
    recipe = PretrainRecipe(network=SMALL, seed=3)
    save_model(build_encoder(recipe), recipe, tmp_path / "here" / "model")
    return tmp_path / "here"


def moved(run: Path, to: Path) -> Path:
    """The parts of a run, and nothing else of it, in another folder."""
    (to / "parts").mkdir(parents=True)
    for file in (run / "parts").iterdir():
        (to / "parts" / file.name).write_bytes(file.read_bytes())
    return to


def test_an_encoder_arrives_with_the_same_bits(encoder_run: Path, tmp_path: Path) -> None:
    carry.pack(encoder_run, torch.float32)
    there = moved(encoder_run, tmp_path / "there")
    carry.unpack(there)
    before, after = (load_model(run / "model").state_dict() for run in (encoder_run, there))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resnet18_of_the_papers_width_travels_in_parts_below_16_mib(tmp_path: Path) -> None:
    recipe = FinetuneRecipe()
    model = build_classifier(recipe)
    save_model(model, recipe, tmp_path / "here" / "model")
    place = carry.pack(tmp_path / "here", torch.float16)
    sizes = [file.stat().st_size for file in place.iterdir()]
    assert max(sizes) < 16 * 2**20
    half = 2 * sum(p.numel() for p in model.parameters())
    assert half < sum(sizes) < 1.01 * half + 10_000
    there = moved(tmp_path / "here", tmp_path / "there")
    carry.unpack(there)
    after = load_model(there / "model").state_dict()
    for name, value in model.state_dict().items():
        assert after[name].dtype == value.dtype
        # Half precision keeps eleven digits of two.
        torch.testing.assert_close(after[name], value, rtol=2**-11, atol=6e-8)


def test_packing_twice_writes_once_and_a_changed_network_again(encoder_run: Path) -> None:
    place = carry.pack(encoder_run, torch.float32)
    written = {file: file.stat().st_mtime_ns for file in place.iterdir()}
    carry.pack(encoder_run, torch.float32)
    assert {file: file.stat().st_mtime_ns for file in place.iterdir()} == written
    recipe = PretrainRecipe(network=SMALL, seed=4)
    model = build_encoder(recipe)
    save_model(model, recipe, encoder_run / "model")
    carry.pack(encoder_run, torch.float32)
    source = json.loads((encoder_run / "model" / "config.json").read_text())["sha256"]
    assert json.loads((place / "config.json").read_text())["source"] == source


STRANGE = ["{}", "[]", "{", "5", "[" * 100_000, '{"source": 5}']


@pytest.mark.parametrize("words", STRANGE)
def test_damaged_words_of_parts_are_written_anew(encoder_run: Path, words: str) -> None:
    """They bar no network that is there as a whole."""
    place = carry.pack(encoder_run, torch.float32)
    sound = (place / "config.json").read_text()
    (place / "config.json").write_text(words)
    carry.pack(encoder_run, torch.float32)
    assert (place / "config.json").read_text() == sound


@pytest.mark.parametrize("words", [*STRANGE, "options", "parts"])
def test_parts_with_strange_words_are_one_sentence(
    encoder_run: Path, tmp_path: Path, words: str
) -> None:
    carry.pack(encoder_run, torch.float32)
    there = moved(encoder_run, tmp_path / "there")
    stated = there / "parts" / "config.json"
    changed = {"options": {"options": 5}, "parts": {"parts": {}}}
    if words in changed:
        sound = json.loads(stated.read_text())
        words = json.dumps({name: sound[name] for name in sound if name != words} | changed[words])
    stated.write_text(words)
    with pytest.raises(ValueError, match="should hold a network in parts, but is damaged"):
        carry.unpack(there)
    assert not carry.has_model(there)


def test_a_network_that_is_there_is_not_replaced_by_its_rounded_copy(encoder_run: Path) -> None:
    carry.pack(encoder_run, torch.float16)
    before = (encoder_run / "model" / "config.json").read_bytes()
    carry.unpack(encoder_run)
    assert (encoder_run / "model" / "config.json").read_bytes() == before


@pytest.mark.parametrize("harm", ["cut", "missing", "elsewhere", "no words"])
def test_damaged_parts_are_refused(encoder_run: Path, tmp_path: Path, harm: str) -> None:
    carry.pack(encoder_run, torch.float32)
    there = moved(encoder_run, tmp_path / "there")
    words, part = there / "parts" / "config.json", next((there / "parts").glob("*.safetensors"))
    if harm == "cut":
        part.write_bytes(part.read_bytes()[:-4])
    elif harm == "missing":
        part.unlink()
    elif harm == "elsewhere":
        (there / part.name).write_bytes(part.read_bytes())
        words.write_text(words.read_text().replace(part.name, f"../{part.name}"))
    else:
        words.write_text("{}")
    with pytest.raises(ValueError, match="should hold a network in parts, but is damaged"):
        carry.unpack(there)
    assert not carry.has_model(there)


def test_what_half_precision_cannot_hold_keeps_its_own() -> None:
    large, small = torch.tensor([1.0, 70_000.0]), torch.tensor([1.0, -65_504.0])
    for each in (large, -large, torch.empty(0)):
        assert torch.equal(carry.rounded(each, torch.float16), each)
    assert carry.rounded(small, torch.float16).dtype == torch.float16
    assert carry.rounded(torch.tensor([3]), torch.float16).dtype == torch.int64


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), limit=st.integers(1, 100))
def test_groups_keep_order_and_limit(sizes: list[int], limit: int) -> None:
    tensors = {str(n): torch.zeros(size, dtype=torch.uint8) for n, size in enumerate(sizes)}
    groups = list(carry.grouped(tensors, limit))
    assert [name for group in groups for name in group] == list(tensors)
    for group in groups:
        assert len(group) == 1 or sum(value.nbytes for value in group.values()) <= limit
    # No group could take the first of the next.
    for group, following in pairwise(groups):
        first = next(iter(following.values()))
        assert sum(value.nbytes for value in group.values()) + first.nbytes > limit
