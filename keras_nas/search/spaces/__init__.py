"""Search spaces, declared block by block.

A `Block` is what can stand in one place: a `LayerSpace`, or a `Choice`, `Series`,
`Repeat`, `Fork` or `Residual` of blocks. A `NetworkSpace` is a block with the shape of
its inputs; `image_space` makes the default one.
"""

from keras_nas.search.spaces.blocks import Block, LayerSpace, Nothing
from keras_nas.search.spaces.image import (
    classification_head,
    convolution_block,
    convolutions,
    image_space,
    reduction,
)
from keras_nas.search.spaces.space import NetworkSpace, SearchSpace
from keras_nas.search.spaces.structure import Choice, Fork, Repeat, Residual, Series

__all__ = [
    "Block",
    "Choice",
    "Fork",
    "LayerSpace",
    "NetworkSpace",
    "Nothing",
    "Repeat",
    "Residual",
    "SearchSpace",
    "Series",
    "classification_head",
    "convolution_block",
    "convolutions",
    "image_space",
    "reduction",
]
