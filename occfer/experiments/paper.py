"""What the paper itself reports, and nothing else (Tables 1 and 2, §3.5).

Every other number in the book is computed from a recorded run. These are quoted, in per cent, and
always labelled as the paper's.
"""

TABLE1 = {
    "Res18": {"rafdb": 84.67, "fer2013": 68.59},
    "OCL+Res18": {"rafdb": 85.90, "fer2013": 70.51},
    "OCL+Res18+FGW": {"rafdb": 86.35, "fer2013": 70.96},
    "OCL+Res18+FGW+LGDS": {"rafdb": 87.14, "fer2013": 71.63},
}

TABLE2 = {
    "BLOCK-FRENET": {"rafdb": None, "fer2013": 64.41},
    "ALT": {"rafdb": 84.55, "fer2013": 69.85},
    "E-FCNN": {"rafdb": 84.62, "fer2013": 66.17},
    "IPA2LT": {"rafdb": 86.77, "fer2013": None},
    "SimCLR": {"rafdb": 85.76, "fer2013": 69.56},
    "PG-CNN": {"rafdb": 83.27, "fer2013": None},
    "gACNN": {"rafdb": 85.07, "fer2013": None},
    "OAENet": {"rafdb": 85.69, "fer2013": None},
    "RAN-ResNet18": {"rafdb": 86.90, "fer2013": None},
    "the paper": {"rafdb": 87.14, "fer2013": 71.63},
}

FIGURE3_DROP = {"the paper": 13.79, "Res18": 17.65, "DenseNet": 18.57}
"""Largest fall of accuracy from 0 to 30 % occlusion; no other number of Figure 3 is known."""
