"""Folders that are handed on: what comes back, from old ones too, and from strangers."""

import http.server
import inspect
import json
import threading
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from occfer import EMOTIONS, FGW, Encoder, PlainClassifier, load_model
from occfer.cli import main
from occfer.engine.evaluate import Predictions
from occfer.engine.records import make_record
from occfer.files import file_sha256, save_tensors
from occfer.modelcard import UNKNOWN
from occfer.pretrained import MAX_WORDS, Pretrained, learnt_from
from occfer.recipes import FinetuneRecipe, NetworkRecipe, as_dict

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
def test_a_folder_states_every_option_so_that_no_default_has_to_be_known(tmp_path, kind) -> None:
    model = NETWORKS[kind]()
    words = json.loads((model.save_pretrained(tmp_path) / "config.json").read_text())
    taken = inspect.signature(type(model).__init__.__wrapped__).parameters
    assert words["options"].keys() == taken.keys() - {"self"}
    assert words["options"]["width"] == 8


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_made_by_hand_comes_back(tmp_path, pictures, kind) -> None:
    model = NETWORKS[kind]()
    model(pictures(4, 3, 30, 30))  # moves the statistics of batch normalisation
    folder = model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(folder)
    assert not again.training
    assert same(model, again, pictures(2, 3, 30, 30, seed=1))
    assert type(load_model(str(folder))) is type(model)


@pytest.fixture
def kinds(monkeypatch) -> None:
    """What a test adds to the networks that can be read is forgotten after it."""
    monkeypatch.setattr(Pretrained, "kinds", dict(Pretrained.kinds))


def test_a_network_of_ones_own_comes_back_with_the_options_it_hands_on(
    tmp_path, pictures, kinds
) -> None:
    class Mine(FGW):
        def __init__(self, scale: float = 1.0, **options):
            super().__init__(**options)
            self.scale = scale

    model = Mine(scale=2.0, size=24, **SMALL)
    assert model.options == {"scale": 2.0, "size": 24, **SMALL}
    again = load_model(model.save_pretrained(tmp_path))
    assert (type(again), again.scale) == (Mine, 2.0)
    assert same(model, again, pictures(2, 3, 30, 30))


def test_a_network_that_does_not_name_its_options_is_refused(kinds) -> None:
    with pytest.raises(
        TypeError, match=r"Mine should name the options .* takes \*parts; name them"
    ):

        class Mine(FGW):
            def __init__(self, *parts):
                super().__init__()


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
        dict(width=256),  # which would fit into memory, but is not to be made
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
def test_a_strangers_options_take_no_memory_and_run_nothing(folder, options, monkeypatch) -> None:
    make, places = torch.nn.Module.register_parameter, set()

    def seen(self, name, value) -> None:
        places.update(() if value is None else (value.device.type,))
        make(self, name, value)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", seen)
    with pytest.raises(ValueError, match=r"options of a FGW, but none|do not fit the recipe"):
        load_model(change(folder, options=options))
    assert places <= {"meta"}


def test_words_without_end_are_not_read(folder) -> None:
    (folder / "config.json").write_text(" " * (MAX_WORDS + 1))
    with pytest.raises(ValueError, match=r"config\.json should say which network"):
        load_model(folder)


def test_options_that_fit_the_weights_and_are_not_theirs_are_refused(folder) -> None:
    """Regions cut elsewhere have the same weights and give other answers."""
    with pytest.raises(ValueError, match="should hold the options that the weights were saved"):
        load_model(change(folder, options={"corner": 0.6}))


@pytest.mark.parametrize(
    ("dtype", "fits"),
    [
        (torch.float16, True), (torch.bfloat16, True), (torch.float64, True),
        (torch.int8, False), (torch.bool, False), (torch.complex64, False),
    ],
)  # fmt: skip
def test_weights_are_numbers_with_a_point_of_whatever_precision(folder, dtype, fits) -> None:
    weights = load_model(folder).state_dict()
    key = next(key for key, value in weights.items() if value.is_floating_point())
    weights[key] = weights[key].to(dtype)
    change(folder, sha256=save_tensors(weights, folder / "model.safetensors"))
    with nullcontext() if fits else pytest.raises(ValueError, match="do not fit the recipe"):
        load_model(folder)


@pytest.mark.parametrize("strange", ["runs/record.json", 5])
def test_what_is_no_record_is_refused(tmp_path, strange) -> None:
    with pytest.raises(ValueError, match=r"record should be the Record of a run, or its values"):
        NETWORKS["FGW"]().save_pretrained(tmp_path / "model", record=strange)
    assert not (tmp_path / "model").exists()


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
    labels = faces.labels.clone()
    labels[:6] = 3  # more of one class, so that balanced accuracy is another number
    recipe = FinetuneRecipe(network=NetworkRecipe(size=24, **SMALL), seed=3)
    faces = replace(faces, images=faces.images[..., :20])
    return make_record(
        "finetune",
        "net",
        as_dict(recipe),
        {"train": faces.describe(), "test": faces[:20].describe()},
        [{"epoch": 1, "loss": 1.0}],
        90.0,
        Predictions(faces.ids, labels.numpy(), probabilities),
    )


def test_the_card_says_what_the_record_says(tmp_path, recorded) -> None:
    told = {"torch": "2.14", "occfer": "0.1.0", "commit": "abc123+"}
    recorded.values["environment"].update(told)
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded.values)
    card, metrics = ModelCard.load(folder / "README.md"), recorded.metrics
    [accuracy, f1] = card.data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", metrics["accuracy"])
    assert (f1.metric_type, f1.metric_value) == ("f1", metrics["macro_f1"])
    assert (accuracy.dataset_name, card.data.license) == ("toy", "other")
    low, high = metrics["accuracy_interval_95"]
    assert f"| its 95 % interval (Wilson) | {low:.4f} to {high:.4f} |" in card.content
    sha256 = recorded.values["data"]["train"]["sha256"][:16]
    assert f"| train | toy |  | 30 | 24x20 | `{sha256}…`" in card.content
    assert "Seed 3, 1 epochs in 1.5 minutes" in card.content
    about = {
        "Intended use": "not meant for decisions about people",
        "Limits": "Labels of expressions are opinions",
        "Data": "| role | data set |",
        "Metrics": "| accuracy |",
        "Training": "PyTorch 2.14 and occfer 0.1.0, at commit abc123+.",
        "Licence": "The weights were learnt from toy. Its terms are known to whoever collected it.",
    }
    parts = dict(each.split("\n", 1) for each in card.content.split("\n## ")[1:])
    assert parts.keys() == about.keys()
    assert all(words in parts[part] for part, words in about.items())
    words = json.loads((folder / "config.json").read_text())
    assert words["recipe"] == recorded.values["recipe"]


def test_the_card_of_an_installed_library_names_its_version_alone(tmp_path, recorded) -> None:
    recorded.values["environment"].update({"occfer": "0.1.0", "commit": None})
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded)
    assert " and occfer 0.1.0.\n" in (folder / "README.md").read_text()


def test_a_record_that_gives_no_card_leaves_the_folder_as_it_is(tmp_path, recorded) -> None:
    recorded.values["data"]["my test"] = recorded.values["data"].pop("test")
    with pytest.raises(ValueError, match="one of its sets, train, my test, but are about 'test'"):
        NETWORKS["FGW"]().save_pretrained(tmp_path / "model", record=recorded.values)
    assert not (tmp_path / "model").exists()


def test_every_metric_on_the_card_is_that_of_the_record(tmp_path, recorded) -> None:
    folder, metrics = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded), {}
    for line in (folder / "README.md").read_text().split("## Metrics")[1].splitlines():
        if line.startswith("| ") and "metric" not in line:
            name, value = line.strip("| ").split(" | ")
            metrics[name] = value
    low, high = recorded.metrics["accuracy_interval_95"]
    assert metrics == {
        "accuracy": f"{recorded.metrics['accuracy']:.4f}",
        "its 95 % interval (Wilson)": f"{low:.4f} to {high:.4f}",
        "balanced accuracy": f"{recorded.metrics['balanced_accuracy']:.4f}",
        "macro F1": f"{recorded.metrics['macro_f1']:.4f}",
        **{f"F1, {name}": f"{recorded.metrics['f1'][name]:.4f}" for name in EMOTIONS},
    }
    assert metrics["accuracy"] != metrics["balanced accuracy"] != metrics["macro F1"]


@pytest.mark.parametrize(("stated", "split"), [({}, "test"), ({"scored": "validation"}, "val")])
def test_the_card_names_the_split_that_was_scored(tmp_path, recorded, stated, split) -> None:
    sets = {role: dict(recorded.values["data"]["test"]) for role in ("train", "validation", "test")}
    for role, name in zip(sets, ("train", "val", "test"), strict=True):
        sets[role] |= {"name": f"set of {name}", "split": name, "count": len(name)}
    record = {**recorded.values, **stated, "data": sets}
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=record)
    card = ModelCard.load(folder / "README.md")
    assert f"On 30 faces of the {split} split of set of {split}," in card.content
    for result in card.data.eval_results:
        assert (result.dataset_name, result.dataset_split) == (f"set of {split}", split)


@pytest.mark.parametrize(
    ("names", "licence", "terms"),
    [
        (["synthfer"], "mit", ["rendered and in the public domain (CC0)"]),
        (["rafdb"], "other", ["research without commercial purpose only"]),
        (["fer2013"], "other", ["collected with a web search for a challenge"]),
        (["synthfer", "ferplus"], "other", ["(CC0)", "Its labels are under the MIT licence"]),
    ],
)
def test_what_the_data_asks_for_binds_the_weights(
    tmp_path, recorded, names, licence, terms
) -> None:
    sets = dict(zip(("train", "test"), (names * 2)[:2], strict=True))
    for role, name in sets.items():
        recorded.values["data"][role]["name"] = name
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record=recorded.values)
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == licence
    stated = card.content.split("## Licence")[1]
    assert all(each in stated for each in terms)
    assert all(f"learnt from {name}." in stated for name in names)


@pytest.mark.parametrize(
    ("kind", "tag", "how"),
    [
        ("FGW", "image-classification", "found = predict(model,"),
        ("PlainClassifier", "image-classification", "found = predict(model,"),
        ("Encoder", "image-feature-extraction", "Encoder.from_pretrained("),
    ],
)
def test_the_card_says_how_its_kind_of_network_is_used(tmp_path, kind, tag, how) -> None:
    card = ModelCard.load(NETWORKS[kind]().save_pretrained(tmp_path) / "README.md")
    assert card.data.pipeline_tag == tag
    assert how in card.content


def test_the_card_is_titled_by_network_and_backbone(tmp_path) -> None:
    network = PlainClassifier(backbone="mobilenet_v2", width=8, size=24)
    card = ModelCard.load(network.save_pretrained(tmp_path) / "README.md")
    assert "\n# PlainClassifier, mobilenet_v2\n" in card.content


def test_whoever_may_read_the_card_may_read_the_weights(folder) -> None:
    modes = {each.name: each.stat().st_mode for each in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_card_without_a_record_claims_nothing(folder) -> None:
    card = ModelCard.load(folder / "README.md")
    assert card.data.eval_results is None
    assert card.content.count("Not recorded.") == 3
    assert not any(letter.isdigit() for letter in card.content.split("## Data")[1])


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
        if "/somebody/expressions/resolve/main/" not in path:
            return "/no/such/file"
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


@pytest.mark.parametrize(
    ("command", "what_comes_after"),
    [
        (("evaluate", "--data", "nowhere", "--model"), "'nowhere' is neither a data set nor"),
        (("export", "--side", "0", "--model"), "side should be at least 1 pixel"),
        (("predict", "nowhere.png", "--model"), "nowhere.png should be a picture"),
        (("finetune", "--encoder"), "should hold a pre-trained encoder, but holds a FGW"),
    ],
)
def test_every_command_reads_a_name_from_the_hub(
    hub, tmp_path, monkeypatch, command, what_comes_after
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*command, "somebody/expressions"])
    assert what_comes_after in stop.value.code


def test_the_revision_that_was_asked_for_is_the_one_that_is_read(hub) -> None:
    with pytest.raises(FileNotFoundError, match=r"somebody/expressions should hold config\.json"):
        load_model("somebody/expressions", revision="another")


@pytest.mark.parametrize("name", ["somebody/expressions/model", "expressions", "../expressions"])
def test_a_path_is_not_looked_for_on_the_hub(hub, tmp_path, monkeypatch, name) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileNotFoundError, match=r"config\.json is not there; pass the folder that"):
        load_model(name)


def test_a_folder_here_comes_before_a_name_on_the_hub(hub, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    NETWORKS["Encoder"]().save_pretrained("somebody/expressions")
    assert isinstance(load_model("somebody/expressions"), Encoder)


def test_what_the_hub_does_not_have_is_one_sentence(hub, folder) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"somebody/expressions should hold config\.json"):
        FGW.from_pretrained("somebody/expressions")


def pretrained(backbone: str) -> dict:
    return {"recipe": {"pretrained": True, "network": {"backbone": backbone}}}


@pytest.mark.parametrize(
    ("changes", "licence", "names"),
    [
        ({"origin": {"data": ["synthfer"]}}, "mit", ["synthfer"]),
        ({"origin": {"data": ["rafdb"]}}, "other", ["rafdb", "synthfer"]),
        ({"origin": {"data": None}}, "other", [UNKNOWN, "synthfer"]),
        (pretrained("resnet18"), "other", ["imagenet", "synthfer"]),
        (
            pretrained("resnet50"),
            "other",
            ["synthfer", "what timm's weights for resnet50 learnt from"],
        ),
    ],
)
def test_what_a_network_went_on_from_binds_it_too(
    tmp_path, recorded, changes, licence, names
) -> None:
    for each in recorded.values["data"].values():
        each["name"] = "synthfer"
    folder = NETWORKS["FGW"]().save_pretrained(tmp_path, record={**recorded.values, **changes})
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == licence
    assert all(f"learnt from {name}." in card.content for name in names)
    assert learnt_from(folder) == names


def test_a_network_without_a_record_does_not_say_what_it_learnt_from(folder) -> None:
    assert learnt_from(folder) is None
