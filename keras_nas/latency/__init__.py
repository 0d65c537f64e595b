"""How long models take on the machine at hand: measured, and predicted from sizes."""

from keras_nas.latency.fitting import Line, fit_line
from keras_nas.latency.isolated import Isolated, isolate
from keras_nas.latency.table import LatencyPoint, LatencyTable, VertexLatency
from keras_nas.latency.timing import (
    Timing,
    device_name,
    duration,
    interleaved,
    runner,
)

__all__ = [
    "Isolated",
    "LatencyPoint",
    "LatencyTable",
    "Line",
    "Timing",
    "VertexLatency",
    "device_name",
    "duration",
    "fit_line",
    "interleaved",
    "isolate",
    "runner",
]
