"""Edits of the graph itself: vertices and edges come and go."""

from keras_nas.surgery.edits.connection import connect_vertices, disconnect_vertices
from keras_nas.surgery.edits.grafting import Wiring, graft_segment
from keras_nas.surgery.edits.insertion import insert_layers
from keras_nas.surgery.edits.removal import remove_vertices
from keras_nas.surgery.edits.replacement import replace_layer

__all__ = [
    "Wiring",
    "connect_vertices",
    "disconnect_vertices",
    "graft_segment",
    "insert_layers",
    "remove_vertices",
    "replace_layer",
]
