"""Model cards (Mitchell et al. 2019, doi:10.1145/3287560.3287596): what a network is, was fed, can
and must not do. Every number comes from the record of its run; what was not recorded says so.
"""

import json
from collections.abc import Mapping
from typing import Any

from occfer.emotions import EMOTIONS

TERMS = {
    "synthfer": "Its faces are rendered and in the public domain (CC0).",
    "fer2013": "Its photographs were collected with a web search for a challenge in machine "
    "learning; who holds the rights in them is not known, and what was learnt from them is for "
    "research.",
    "ferplus": "Its labels are under the MIT licence; its photographs are those of FER2013, "
    "collected with a web search, and what was learnt from them is for research.",
    "imagenet": "Whoever gets its photographs from ImageNet agrees to use them for research and "
    "teaching without commercial purpose only; the rights in them are their owners'.",
    "rafdb": "Its authors allow research without commercial purpose only, and that binds whoever "
    "uses what was learnt from it.",
}
KINDS = {
    "FGW": "It looks at five overlapping regions of a face, weighs each with channel and spatial "
    "attention, and classifies all of them together and each for itself.",
    "PlainClassifier": "It looks at the whole face through one backbone.",
    "Encoder": "It turns a face into a vector. It was pre-trained on covered views without labels "
    "and names no expression; fine-tune it first.",
}
UNKNOWN = "data that the network it went on from does not name"
OF_IMAGENET = ("resnet18", "vgg16", "densenet121", "mobilenet_v2")
"""Backbones whose published weights learnt from ImageNet alone; timm's others name their own."""
USE = """```python
from occfer import load_model, predict

model = load_model("FOLDER or user/name")
found = predict(model, "photograph.jpg")
print(found.emotions, found.probabilities)
```"""
ENCODER_USE = """```python
from occfer import Encoder, finetune

encoder = Encoder.from_pretrained("FOLDER or user/name")
model = finetune(train, validation, encoder=encoder).model
```"""
INTENDED = """Research and teaching on facial expressions under occlusion: comparing methods,
looking at what covered faces still show, exercises. It is not meant for decisions about people,
such as in hiring, policing, border control, schools or medicine, nor for telling what a person
feels: an expression is not an emotion. In the European Union the AI Act (Regulation 2024/1689,
Article 5) prohibits inferring emotions at work and in education."""
LIMITS = """* It knows seven posed or labelled classes and gives every face one of them, also a face
  that shows none.
* Labels of expressions are opinions; the accuracy below is agreement with those who labelled.
* Accuracy differs between groups of people, and faces unlike those it was trained on are read
  worse. Nothing here was measured by age, sex or skin.
* It expects an upright face that fills the picture. Where its training faces were cut out in
  another way than `predict` does, its accuracy on photographs is lower than the one stated."""


def model_card(words: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The card as Markdown, with the metadata that the Hugging Face Hub reads at its head.

    Args:
        words: ``network``, ``options`` and ``recipe``, as ``config.json`` holds them.
        record: the values of a record, or nothing.
    """
    names = data_names(record)
    title = f"{words['network']}, {words['options'].get('backbone', 'resnet18')}"
    parts = [
        f"---\n{_metadata(words, record, names, title)}---",
        f"# {title}",
        f"A network of [occfer](https://github.com/occfer/occfer), which reads facial expressions "
        f"on covered faces after Xi Yan (2022). {KINDS.get(words['network'], '')}",
        ENCODER_USE if words["network"] == "Encoder" else USE,
        f"## Intended use\n\n{INTENDED}",
        f"## Limits\n\n{LIMITS}",
        f"## Data\n\n{_data(record)}",
        f"## Metrics\n\n{_metrics(record)}",
        f"## Training\n\n{_training(words, record)}",
        f"## Licence\n\n{_licence(names)}",
    ]
    return "\n\n".join(parts) + "\n"


def data_names(record: Mapping[str, Any]) -> list[str]:
    """What the weights were learnt from: the sets of the record, and what the network that it went
    on from had learnt from; ``UNKNOWN`` among them where that was not recorded."""
    names = {str(each["name"]) for each in record.get("data", {}).values()}
    if names and "origin" in record:
        names |= set(record["origin"]["data"] or [UNKNOWN])
    recipe = record.get("recipe") or {}
    if names and recipe.get("pretrained"):
        backbone = str(recipe["network"]["backbone"])
        timms = f"what timm's weights for {backbone} learnt from"
        names.add("imagenet" if backbone in OF_IMAGENET else timms)
    return sorted(names)


def _metadata(words, record, names: list[str], title: str) -> str:
    """YAML, written as JSON values, of which it is a superset."""
    free = names == ["synthfer"]
    encoder = words["network"] == "Encoder"
    head: dict[str, Any] = {
        "license": "mit" if free else "other",
        **({} if free else {"license_name": "terms-of-the-data"}),
        "library_name": "occfer",
        "pipeline_tag": "image-feature-extraction" if encoder else "image-classification",
        "tags": ["facial-expression-recognition", "occlusion", "contrastive-learning"],
    }
    metrics = record.get("metrics", {})
    if "accuracy" in metrics:
        scored = _scored(record)
        head["model-index"] = [
            {
                "name": title,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": scored["name"],
                            "type": scored["name"],
                            "split": scored["split"],
                        },
                        "metrics": [
                            {"type": "accuracy", "value": metrics["accuracy"]},
                            {"type": "f1", "name": "macro F1", "value": metrics["macro_f1"]},
                        ],
                    }
                ],
            }
        ]
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())


def _data(record: Mapping[str, Any]) -> str:
    if not record.get("data"):
        return "Not recorded."
    rows = [
        f"| {_cell(role)} | {_cell(each['name'])} | {_cell(each['split'])} | {each['count']} | "
        f"{_cell('x'.join(map(str, each['size'])))} | `{_cell(each['sha256'][:16])}…` |"
        for role, each in record["data"].items()
    ]
    head = "| role | data set | split | faces | pixels | SHA-256 |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _metrics(record: Mapping[str, Any]) -> str:
    metrics = record.get("metrics", {})
    if "accuracy" not in metrics:
        return "Not recorded."
    scored = _scored(record)
    low, high = metrics["accuracy_interval_95"]
    rows = [
        f"| accuracy | {metrics['accuracy']:.4f} |",
        f"| its 95 % interval (Wilson) | {low:.4f} to {high:.4f} |",
        f"| balanced accuracy | {metrics['balanced_accuracy']:.4f} |",
        f"| macro F1 | {metrics['macro_f1']:.4f} |",
        *(f"| F1, {emotion} | {metrics['f1'][emotion]:.4f} |" for emotion in EMOTIONS),
    ]
    about = (
        f"On {metrics['count']} faces of the {_cell(scored['split'])} split of "
        f"{_cell(scored['name'])}, each looked at once."
    )
    return "\n".join([f"{about}\n", "| metric | value |", "|---|---|", *rows])


def _training(words: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if not words["recipe"]:
        return "Not recorded."
    stated = "`config.json` holds the recipe, every hyper-parameter of the run."
    if not record:
        return stated
    where = record.get("environment", {})
    commit = f", at commit {_cell(where['commit'])}" if where.get("commit") else ""
    return (
        f"{stated} Seed {record.get('seed')}, {len(record.get('history', []))} epochs in "
        f"{record.get('seconds', 0) / 60:.1f} minutes on {_cell(where.get('device'))}, with "
        f"PyTorch {_cell(where.get('torch'))} and occfer {_cell(where.get('occfer'))}{commit}."
    )


def _licence(names: list[str]) -> str:
    code = "The code that makes and runs the network is under the MIT licence."
    if not names:
        return f"{code} On what data the weights were trained was not recorded, so ask who did it."
    unknown = "Its terms are known to whoever collected it."
    learnt = " ".join(
        f"The weights were learnt from {_cell(name)}. {TERMS.get(name, unknown)}" for name in names
    )
    return f"{code} {learnt}"


def _scored(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The set that the metrics are about: the one named, else the test split."""
    role = record.get("scored", "test")
    if role not in record["data"]:
        raise ValueError(
            f"a record's metrics should be about one of its sets, {', '.join(record['data'])}, but "
            f"are about {role!r}; name it with make_record(…, scored=NAME)."
        )
    return record["data"][role]


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "/").replace("`", "'").split())
