"""What others report, quoted and never measured here: for an honest look at where the paper stands.

Every number is in per cent, top-1, from a single network. Each says whose it is and what makes it
hard to compare: weights learnt from millions of faces, a test split that chose the epoch, or ten
crops.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quote:
    """One number of somebody else.

    Args:
        method: with its backbone where that matters.
        data: ``rafdb``, ``fer2013``, or ``ferplus-occluded``, RAN's list of really occluded faces.
        accuracy: in per cent.
        source: who reports it.
        caveat: what to know before comparing; empty where nothing is known.
    """

    method: str
    data: str
    accuracy: float
    source: str
    caveat: str = ""


_FACES = "starts from face-recognition weights"
_CROPS = "mean of ten crops; the test split chose the epoch"
_DOUBT = "readers who tried could not reproduce it"

FIELD = (
    Quote("DAN", "rafdb", 89.70, "Wen et al., 2023", _FACES),
    Quote("EAC, ResNet18", "rafdb", 89.99, "Zhang et al., 2022", _FACES),
    Quote("EAC, ResNet50", "rafdb", 90.35, "Zhang et al., 2022", _FACES),
    Quote("POSTER++", "rafdb", 92.21, "Mao et al., 2023", _FACES),
    Quote("QCS", "rafdb", 92.57, "Wang et al., 2025", _FACES),
    Quote("ResEmoteNet", "rafdb", 94.76, "Roy et al., 2024", _DOUBT),
    Quote(
        "ResNet18 from ImageNet", "fer2013", 70.81, "no publication known to us", "free of leaks"
    ),
    Quote("ResNet18 from scratch", "fer2013", 72.97, "WuJie1010's repository, 2018", _CROPS),
    Quote("VGG19 from scratch", "fer2013", 73.11, "WuJie1010's repository, 2018", _CROPS),
    Quote("Residual Masking Network", "fer2013", 74.14, "Pham et al., 2021"),
    Quote("ResEmoteNet", "fer2013", 79.79, "Roy et al., 2024", _DOUBT),
    Quote("ResNet18", "ferplus-occluded", 73.33, "Wang et al., 2020"),
    Quote("RAN, ResNet18", "ferplus-occluded", 83.63, "Wang et al., 2020"),
)
