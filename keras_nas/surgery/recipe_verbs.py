"""The functions that make a recipe of a plan, and do it again."""

from __future__ import annotations

from typing import Any

from keras_nas.surgery.plan import Plan
from keras_nas.surgery.recipe import Recipe, recipe_of


def recipe(plan: Plan) -> Recipe:
    """Returns what a plan decided, to be saved and done again on another copy.

    The same neurons are kept and as many are added, whatever the weights of the copy
    are: which neurons matter is not asked again.

    Args:
        plan: From `plan` or `plan_prune`.

    Returns:
        A `Recipe`: ``to_json()``, ``save(path)``, ``Recipe.from_json(text)``,
        ``Recipe.load(path)``; ``recipe.plan(model)`` to look at it first.

    Raises:
        InvalidRequestError: No plan, or one with an initializer that is not of Keras.

    Example:
        >>> import keras, keras_nas as kn
        >>> def net():
        ...     return keras.Sequential([
        ...         keras.Input((3,)),
        ...         keras.layers.Dense(4, name="hidden"),
        ...         keras.layers.Dense(2, name="head"),
        ...     ])
        >>> recipe = kn.recipe(kn.plan_prune(net(), params=0.5))
        >>> kn.replay(net(), recipe).get_layer("hidden").units
        1
    """
    return recipe_of(plan)


def replay(model: Any, recipe: Any, *, carry_optimizer: bool = False) -> Any:
    """Returns a new model with the cut of a recipe; the given one is not changed.

    Args:
        model: A built functional or sequential `keras.Model` of the architecture that
            the recipe is for. Names may differ, weights, too.
        recipe: A `Recipe`, or the JSON of one.
        carry_optimizer: As in `resize`.

    Raises:
        InvalidRequestError: The recipe is damaged, or for another architecture; says
            where the two differ.
        UnsupportedModelError: ``model`` is of another kind.

    Example:
        >>> import keras, keras_nas as kn
        >>> def net():
        ...     return keras.Sequential([
        ...         keras.Input((3,)),
        ...         keras.layers.Dense(4, name="hidden"),
        ...         keras.layers.Dense(2, name="head"),
        ...     ])
        >>> text = kn.recipe(kn.plan(net(), "hidden", 6)).to_json()
        >>> kn.replay(net(), text).get_layer("hidden").units
        6
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.from_json(recipe)
    return recipe.plan(model).apply(carry_optimizer=carry_optimizer)
