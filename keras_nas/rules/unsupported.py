"""What stays frozen, and why.

Not in the registry of rules, since no size goes through; only so that `explain` and
the coverage page can say more than that there is no rule.
"""

from __future__ import annotations

from keras_nas.rules.registry import is_from_keras

_VOCABULARY = "its positions are numbers of a vocabulary or of bins, which are data"
_COLOURS = "it mixes the colours of an image"
_FOREIGN = "what it computes is written outside Keras"
_PIPELINE = "it chooses among several layers, or works on boxes and labels"
_PYTHON = "what it computes is a Python function inside it"
_POSITIONS = "every position has a meaning of its own"
_MATRIX = "it works with whole matrices"
_BASE = "what it computes is written in a subclass"

LAYERS: dict[str, str] = {
    **dict.fromkeys(
        (
            "CategoryEncoding",
            "HashedCrossing",
            "Hashing",
            "IntegerLookup",
            "StringLookup",
            "TextVectorization",
        ),
        _VOCABULARY,
    ),
    **dict.fromkeys(
        (
            "ContrastLimitedAdaptiveHistogramEqualization",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomGrayscale",
            "RandomHue",
            "RandomSaturation",
        ),
        _COLOURS,
    ),
    **dict.fromkeys(
        ("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _FOREIGN
    ),
    **dict.fromkeys(
        ("AugMix", "CutMix", "MaxNumBoundingBoxes", "MixUp", "Pipeline", "RandAugment"),
        _PIPELINE,
    ),
    **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), "it computes a spectrum"),
    **dict.fromkeys(("Layer", "Wrapper"), _BASE),
    "Equalization": "Keras cannot record it in a functional model",
}

OPERATIONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "AssociativeScan",
            "Cond",
            "ForiLoop",
            "Function",
            "JVP",
            "Map",
            "Scan",
            "Switch",
            "VectorizedMap",
            "WhileLoop",
        ),
        _PYTHON,
    ),
    **dict.fromkeys(("HSVToRGB", "RGBToGrayscale", "RGBToHSV"), _COLOURS),
    **dict.fromkeys(("Lstsq", "Slogdet", "Solve", "SolveTriangular"), _MATRIX),
    **dict.fromkeys(
        (
            "Bincount",
            "CTCDecode",
            "CTCLoss",
            "Corrcoef",
            "Correlate",
            "Cross",
            "Diag",
            "Diagflat",
            "Histogram",
            "Kron",
            "MapCoordinates",
            "Meshgrid",
            "MultiHot",
            "Nonzero",
            "ScaleAndTranslate",
            "Scatter",
            "ScatterUpdate",
            "SliceUpdate",
            "SobelEdges",
            "Unique",
            "UnravelIndex",
            "Vander",
            "View",
        ),
        _POSITIONS,
    ),
    **dict.fromkeys(
        (
            "AllClose",
            "Arange",
            "Full",
            "Geomspace",
            "Linspace",
            "Logspace",
            "Ndim",
            "PSNR",
            "Size",
        ),
        "its result does not have the axes of its input",
    ),
    "SSIM": _COLOURS,
}


def why_frozen(cls: type, *, is_operation: bool) -> str | None:
    """Returns why a class of Keras has no rule, if that is known."""
    if not is_from_keras(cls):
        return None
    return (OPERATIONS if is_operation else LAYERS).get(cls.__name__)
