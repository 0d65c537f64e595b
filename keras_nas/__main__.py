"""Runs the command line: ``python -m keras_nas``."""

import sys

from keras_nas.cli import main

if __name__ == "__main__":
    sys.exit(main())
