"""What both sides agree on. Imports nothing but the standard library."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

NETS = (
    "ResNet50",
    "ResNet152",
    "DenseNet121",
    "DenseNet201",
    "MobileNetV2",
    "EfficientNetB0",
    "ViT-B/16",
)
# The same ViT whose residual stream may not change: LayerNormalization sees it, so
# only then can the cut model compute the same as the whole one.
HELD = "ViT-B/16, residual stream held"
# The fraction of the channels that one cut drops: about half of the cost of two
# convolutions in a row, since 0.7 * 0.7 = 0.49.
RATIO = 0.3
FRACTION = 0.5
# The loop that Torch-Pruning's `reproduce/main.py` calls progressive pruning: all
# channels in this many steps, until few enough operations are left.
STEPS = 100
# Images of the oracle are small, it works in float64.
ORACLE_IMAGE = 64
HARD_RATIO = 0.5

# Nets of a few layers: name -> what is hard about it.
HARD = {
    "same_twice": "one tensor concatenated with itself",
    "concat_groups": "concatenation before a grouped convolution",
    "depthwise_two": "depthwise convolution with two outputs per channel",
    "permute_flatten": "convolution, channels moved, Flatten, Dense",
    "channel_shuffle": "channel shuffle between convolutions",
    "shuffle_unit": "split, branch, concatenation, shuffle (ShuffleNetV2)",
    "split_of_split": "a part of a split that is split again",
    "pixel_shuffle": "channels rearranged to pixels",
    "padded_shortcut": "shortcut padded with zero channels",
    "one_channel_mask": "features times a mask of one channel",
    "returned_features": "a feature map that is an output, too",
    "two_flattened": "two flattened branches, concatenated, Dense",
    "bilinear": "bilinear pooling: the product of two branches",
    "attention_by_hand": "attention written by hand, no hint of its heads",
    "mixer": "MLP-Mixer: Dense along the tokens",
    "tied_embedding": "embedding that is the output layer, too",
    "lstm": "LSTM",
    "gru": "GRU",
}


class Meter:
    """Wall and processor seconds of named phases, each summed over its times."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            self.wall[name] = self.wall.get(name, 0.0) + wall
            self.cpu[name] = self.cpu.get(name, 0.0) + cpu
