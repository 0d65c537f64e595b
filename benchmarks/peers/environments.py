"""Makes the environments: one for each package, from the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "torch": ["torch-pruning==1.6.*", "torch", "torchvision"],
    "keras": [f"{ROOT}[tensorflow]"],
}
KERAS_3 = ["tensorflow==2.21.*", "keras==3.15.*"]
TINY = """
import keras
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(4, 3, name="first")(inputs)
x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="second")(x))
model = keras.Model(inputs, keras.layers.Dense(2)(x))
"""
# Other packages: what to install, and the call that each of them is there for.
OTHERS = {
    "keras-surgeon 0.2": (
        ["kerassurgeon==0.2.*", "importlib-metadata", *KERAS_3],
        TINY
        + "from kerassurgeon.operations import delete_channels\n"
        + "delete_channels(model, model.get_layer('first'), [0])",
    ),
    "TensorFlow Model Optimization": (
        ["tensorflow-model-optimization", *KERAS_3],
        TINY
        + "from tensorflow_model_optimization.sparsity import keras as sparsity\n"
        + "sparsity.prune_low_magnitude(model)",
    ),
    "Model Compression Toolkit": (
        ["model-compression-toolkit", *KERAS_3],
        TINY
        + "import model_compression_toolkit as mct\n"
        + "mct.pruning.keras_pruning_experimental(\n"
        + "    model, mct.core.ResourceUtilization(weights_memory=400), lambda: [])",
    ),
    "NNI": (
        ["nni", *KERAS_3],
        TINY + "from nni.compression.pruning import L1NormPruner",
    ),
}


def make(directory: Path, name: str, *installs: list[str]) -> Path:
    """Returns the interpreter of an environment; makes it unless it is there.

    Each list is what one call of pip gets.
    """
    folder = directory / name.lower().replace(" ", "-")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for packages in installs:
            command = [python, "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(command, check=True, capture_output=True, text=True)
        (folder / "complete").touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """Returns the versions that the tables name."""
    code = (
        "import importlib.metadata as m, json, platform\n"
        "names = 'torch-pruning torch torchvision keras tensorflow highspy'.split()\n"
        "there = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "found = {n: there[n] for n in names if n in there}\n"
        "print(json.dumps({'Python': platform.python_version(), **found}))"
    )
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def try_other(directory: Path, name: str) -> dict[str, str]:
    """Installs another package and calls it; returns its version and what happened."""
    (package, *beside), code = OTHERS[name]
    before = ""
    try:
        python = make(directory, name, [package, *beside])
    except subprocess.CalledProcessError as error:
        before = f"pip refuses ({last_line(error.stderr)}); without what it requires: "
        # By force: it may work although it says that it does not.
        python = make(directory, name, beside, ["--no-deps", package])
    show = [python, "-m", "pip", "show", package.split("=")[0]]
    shown = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout
    version = next(
        line.split()[1] for line in shown.splitlines() if line.startswith("Version")
    )
    command = [python, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    outcome = last_line(done.stderr) if done.returncode else "works"
    return {"version": version, "outcome": before + outcome}


def last_line(text: str) -> str:
    """Returns the line of a traceback that names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line.split(":")[0]]
    text = (errors or lines or ["no text"])[-1].removeprefix("ERROR: ")
    return text.split(": for help")[0][:200]
