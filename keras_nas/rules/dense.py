"""Layers that read their input through one matrix."""

from __future__ import annotations

import dataclasses

from keras import layers

from keras_nas.rules.activations import activation_mixes
from keras_nas.rules.call import RuleCall
from keras_nas.rules.notation import describe
from keras_nas.rules.registry import layer_rule
from keras_nas.rules.relation import Relation


@layer_rule(layers.Dense)
def dense(call: RuleCall) -> Relation:
    relation = describe(
        call,
        "... i -> ... o",
        weights={"kernel": "i o", "bias": "o"},
        config={"units": "o"},
    )
    mixes = activation_mixes(call, relation.outputs[0])
    return dataclasses.replace(relation, mixes=mixes)


@layer_rule(layers.Embedding)
def embedding(call: RuleCall) -> Relation:
    """The vocabulary is fixed: its entries are no neurons of another layer."""
    return describe(
        call,
        "... -> ... o",
        weights={"embeddings": "v o"},
        config={"output_dim": "o"},
    )
