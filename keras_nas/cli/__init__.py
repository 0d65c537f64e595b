"""What can be run from a command line."""

from keras_nas.cli.main import main

__all__ = ["main"]
