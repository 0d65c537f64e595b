"""An embedding that is called in both directions, with one table or two."""

from __future__ import annotations

from keras_nas.rules.call import RuleCall
from keras_nas.rules.registry import layer_rule, shipped
from keras_nas.rules.relation import AxisTensor, Relation, SizeOf, WeightAxes


@layer_rule(*shipped("ReversibleEmbedding"))
def reversible_embedding(call: RuleCall) -> Relation:
    """Tokens to features, or back to one score for each token; tokens are fixed.

    A tied table is read by the way back, so new features are zero in it. They learn
    as soon as another layer, of the residual stream for instance, adds to them.

    Source: Press 2016, "Using the output embedding", arXiv 1608.05859.
    """
    tokens = call.fixed(call.setting("input_dim"), f"the vocabulary of '{call.name}'")
    if call.argument("reverse"):
        features = call.x.axes[-1]
        output = (*call.x.axes[:-1], tokens)
        macs = ((*output, features),)
    else:
        features = call.atom(call.setting("output_dim"), "output_dim")
        output = (*call.x.axes, features)
        # A look-up multiplies nothing; stated, since its table is a matrix it reads.
        macs = ((call.fixed(0),),)
    is_tied = call.setting("tie_weights")
    return Relation(
        outputs=(AxisTensor(output),),
        weights={
            "embeddings": WeightAxes(
                ((tokens, features),), reads=frozenset((1,) if is_tied else ())
            ),
            "reverse_embeddings": WeightAxes(
                ((features, tokens),), reads=frozenset((0,))
            ),
        },
        config={"output_dim": SizeOf(features)},
        macs=macs,
    )
