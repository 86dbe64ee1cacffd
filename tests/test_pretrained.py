"""Folders that are handed on: what comes back, from old ones too, and from strangers."""

import http.server
import json
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from occfer import FGW, Encoder, PlainClassifier, load_model
from occfer.engine.evaluate import Predictions
from occfer.engine.finetune import build_classifier
from occfer.engine.pretrain import build_encoder
from occfer.engine.records import make_record
from occfer.files import file_sha256, save_tensors
from occfer.pretrained import MAX_WORDS
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe, as_dict

SMALL = dict(width=8, stem="small")
NETWORKS = {
    "FGW": lambda: FGW(size=24, head="separate", fusion="mean", attention="per_region", **SMALL),
    "PlainClassifier": lambda: PlainClassifier(size=24, **SMALL),
    "Encoder": lambda: Encoder(**SMALL),
}


def said(model: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        output = model.eval()(images)
    return (output,) if isinstance(output, torch.Tensor) else tuple(output)


def same(first: torch.nn.Module, second: torch.nn.Module, images: torch.Tensor) -> bool:
    pairs = zip(said(first, images), said(second, images), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def folder(tmp_path) -> Path:
    return NETWORKS["FGW"]().save_pretrained(tmp_path / "model")


def change(folder: Path, **changes) -> Path:
    words = json.loads((folder / "config.json").read_text())
    words["options"] |= changes.pop("options", {})
    (folder / "config.json").write_text(json.dumps(words | changes))
    return folder


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_made_by_hand_comes_back(tmp_path, pictures, kind) -> None:
    model = NETWORKS[kind]()
    model(pictures(4, 3, 30, 30))  # moves the statistics of batch normalisation
    folder = model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(folder)
    assert not again.training
    assert same(model, again, pictures(2, 3, 30, 30, seed=1))
    assert type(load_model(str(folder))) is type(model)


@pytest.mark.parametrize(
    "recipe",
    [
        PretrainRecipe(network=NetworkRecipe(size=24, **SMALL)),
        FinetuneRecipe(network=NetworkRecipe(size=24, **SMALL), method="plain"),
        FinetuneRecipe(
            network=NetworkRecipe(size=24, **SMALL), corner=0.6, head="separate", pretrained=True
        ),
    ],
)
def test_folders_of_recipe_and_hash_stay_readable(tmp_path, pictures, recipe) -> None:
    """Such as were written before networks knew their own options; nothing is downloaded."""
    if isinstance(recipe, PretrainRecipe):
        model = build_encoder(recipe)
    else:
        model = build_classifier(FinetuneRecipe(**{**vars(recipe), "pretrained": False}))
    sha256 = save_tensors(model.state_dict(), tmp_path / "model.safetensors")
    words = {"recipe": as_dict(recipe), "sha256": sha256}
    (tmp_path / "model.json").write_text(json.dumps(words))
    again = load_model(tmp_path)
    assert type(again) is type(model)
    assert same(model, again, pictures(2, 3, 30, 30))
    again.save_pretrained(tmp_path, recipe)
    assert not (tmp_path / "model.json").exists()
    assert same(model, type(model).from_pretrained(tmp_path), pictures(2, 3, 30, 30))


def test_reading_leaves_the_global_random_state_alone(folder, global_chance) -> None:
    load_model(folder)


def test_another_kind_of_network_is_refused(folder) -> None:
    with pytest.raises(ValueError, match="kind Encoder, but holds a 'FGW'; read it with"):
        Encoder.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"kind .*FGW.*, but holds a 'Popen'; read it with"):
        load_model(change(folder, network="Popen"))


@pytest.mark.parametrize(
    "options",
    [
        dict(width=10**9),  # terabytes, were it made
        dict(num_classes=10**12),
        dict(size=10**9),
        dict(size="large"),
        dict(width="wide"),
        dict(backbone="hf-hub:somebody/something"),
        dict(backbone="local-dir:/tmp"),
        dict(backbone=["resnet18"]),
        dict(unheard_of=1),
        dict(regions=7),
        dict(pretrained=True, width=None, stem="imagenet"),
    ],
)
def test_a_strangers_options_take_no_memory_and_run_nothing(folder, options) -> None:
    with pytest.raises(ValueError, match=r"options of a FGW, but none|do not fit the recipe"):
        load_model(change(folder, options=options))


def test_words_without_end_are_not_read(folder) -> None:
    (folder / "config.json").write_text(" " * (MAX_WORDS + 1))
    with pytest.raises(ValueError, match=r"config\.json should say which network"):
        load_model(folder)


def test_weights_of_other_shapes_are_refused_before_they_are_read(folder) -> None:
    other = NETWORKS["PlainClassifier"]()
    save_tensors(other.state_dict(), folder / "model.safetensors")
    change(folder, sha256=file_sha256(folder / "model.safetensors"))
    with pytest.raises(ValueError, match="do not fit the recipe"):
        load_model(folder)


@pytest.fixture
def recorded(toy_faces):
    faces = toy_faces(30)
    probabilities = torch.eye(7)[faces.labels].numpy()
    probabilities[:6] = probabilities[:6, ::-1]
    recipe = FinetuneRecipe(network=NetworkRecipe(size=24, **SMALL))
    return make_record(
        "finetune",
        "net",
        as_dict(recipe),
        {"train": faces.describe(), "test": faces[:20].describe()},
        [{"epoch": 1, "loss": 1.0}],
        90.0,
        Predictions(faces.ids, faces.labels.numpy(), probabilities),
    )


def test_the_card_says_what_the_record_says(tmp_path, recorded) -> None:
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded.values)
    card, metrics = ModelCard.load(folder / "README.md"), recorded.metrics
    [accuracy, f1] = card.data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", metrics["accuracy"])
    assert (f1.metric_type, f1.metric_value) == ("f1", metrics["macro_f1"])
    assert (accuracy.dataset_name, card.data.license) == ("toy", "other")
    low, high = metrics["accuracy_interval_95"]
    assert f"| its 95 % interval (Wilson) | {low:.4f} to {high:.4f} |" in card.content
    assert f"| train | toy |  | 30 | 24x24 | `{recorded.values['data']['train']['sha256'][:16]}…`"
    assert "Seed 0, 1 epochs in 1.5 minutes" in card.content
    for part in ("Intended use", "Limits", "Data", "Metrics", "Training", "Licence"):
        assert f"\n## {part}\n" in card.content
    words = json.loads((folder / "config.json").read_text())
    assert words["recipe"] == recorded.values["recipe"]


def test_a_card_without_a_record_claims_nothing(folder) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.eval_results is None
    assert card.content.count("Not recorded.") == 3
    assert not any(letter.isdigit() for letter in card.content.split("## Data")[1])


def test_a_network_learnt_from_rendered_faces_is_free(tmp_path, recorded) -> None:
    for each in recorded.values["data"].values():
        each["name"] = "synthfer"
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded.values)
    assert ModelCard.load(folder / "README.md").data.license == "mit"


def test_the_name_of_a_data_set_cannot_break_the_card(tmp_path, recorded) -> None:
    for each in recorded.values["data"].values():
        each["name"] = "a|b\n---\nlicense: mit"
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded.values)
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "other"
    assert "a/b --- license: mit" in card.content


class Hub(http.server.SimpleHTTPRequestHandler):
    """Answers as the Hub does: ``/user/name/resolve/main/FILE`` with a commit and a hash."""

    def translate_path(self, path: str) -> str:
        return super().translate_path("/" + path.split("?")[0].rsplit("/", 1)[1])

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{self.path.rsplit("/", 1)[1]}"')
        super().end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_is_read_from_the_hub(hub, folder, pictures) -> None:
    again = FGW.from_pretrained("somebody/expressions")
    assert same(load_model(folder), again, pictures(2, 3, 30, 30))


def test_what_the_hub_does_not_have_is_one_sentence(hub, folder) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"somebody/expressions should hold config\.json"):
        FGW.from_pretrained("somebody/expressions")
