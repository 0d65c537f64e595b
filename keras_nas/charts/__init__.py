"""Diagrams of numbers, drawn by matplotlib; they know nothing of networks."""

from keras_nas.charts.bars import stacked_bars
from keras_nas.charts.figures import new_figure, save_figure
from keras_nas.charts.histograms import histograms

__all__ = ["histograms", "new_figure", "save_figure", "stacked_bars"]
