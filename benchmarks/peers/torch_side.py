"""Torch-Pruning on one net: times, peak memory, exactness. Imports torch only.

python -m benchmarks.peers.torch_side ratio ResNet50 300
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning as tp
import torchvision
from torch import nn

from benchmarks.measuring import peak_bytes
from benchmarks.peers.common import (
    FRACTION,
    HARD_RATIO,
    HELD,
    ORACLE_IMAGE,
    RATIO,
    STEPS,
    Meter,
)

MAKERS = {
    "ResNet50": "resnet50",
    "ResNet152": "resnet152",
    "DenseNet121": "densenet121",
    "DenseNet201": "densenet201",
    "MobileNetV2": "mobilenet_v2",
    "EfficientNetB0": "efficientnet_b0",
    "ViT-B/16": "vit_b_16",
    HELD: "vit_b_16",
}


def net(name: str) -> nn.Module:
    """Returns a net of torchvision with random weights, ready to be traced."""
    torch.manual_seed(0)
    return getattr(torchvision.models, MAKERS[name])(weights=None).eval()


def pruner_of(model: nn.Module, example: Any, **settings: Any) -> Any:
    """Returns the pruner as its examples make it: the classifier stays."""
    ignored = settings.pop("ignored", [])
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == 1000:
            ignored.append(module)
    # Its recipe for torchvision's ViT: heads lose the same positions.
    heads = {
        module: module.num_heads
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
    }
    return tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        ignored_layers=ignored,
        out_channel_groups=heads,
        in_channel_groups={},
        **settings,
    )


def adapt(model: nn.Module) -> None:
    """Torchvision's ViT keeps its width in an attribute; the recipe sets it by hand."""
    if isinstance(model, torchvision.models.VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels


def warm_up() -> None:
    """Cuts a tiny model: imports and starts happen here."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )
    pruner_of(model, torch.randn(1, 3, 8, 8), pruning_ratio=0.5).step()


def cut(request: str, name: str, limit_s: float) -> dict[str, Any]:
    """Measures one cut to a ratio of channels, or the loop to a budget of MACs."""
    model, example = net(name), torch.randn(1, 3, 224, 224)
    warm_up()
    whole, params = tp.utils.count_ops_and_params(model, example)
    meter, found = Meter(), {}
    deadline = time.process_time() + limit_s
    is_loop = request == "budget"
    ratio, steps = (1.0, STEPS) if is_loop else (RATIO, 1)

    def work() -> Any:
        with meter.phase("analyse"):
            pruner = pruner_of(
                model,
                example,
                global_pruning=True,
                pruning_ratio=ratio,
                iterative_steps=steps,
            )
        found["left"] = 1.0
        while found["left"] > FRACTION and pruner.current_step < steps:
            if time.process_time() > deadline:
                found["stopped_s"] = limit_s
                break
            for group in _timed(pruner.step(interactive=True), meter):
                with meter.phase("cut"):
                    group.prune()
            adapt(model)
            with meter.phase("plan" if is_loop else "count"):
                macs, _ = tp.utils.count_ops_and_params(model, example)
            found["left"] = macs / whole
        found["steps"] = pruner.current_step
        return pruner

    peak = peak_bytes(work)
    meter.wall.pop("count", None), meter.cpu.pop("count", None)
    with torch.no_grad():
        model(example)
    graph = Meter()
    with graph.phase("graph"):
        tp.DependencyGraph().build_dependency(net(name), example)
    return {
        "params": params,
        "whole": whole,
        "peak_mb": peak / 1e6,
        "wall": meter.wall,
        "cpu": meter.cpu,
        "graph_cpu": graph.cpu["graph"],
        **found,
    }


def _timed(groups: Iterator[Any], meter: Meter) -> Iterator[Any]:
    """Yields groups of coupled layers; finding them counts as planning."""
    while True:
        with meter.phase("plan"):
            group = next(groups, None)
        if group is None:
            return
        yield group


# --- exactness ------------------------------------------------------------------


class Ledger:
    """Which of the first output channels of each layer were dropped."""

    def __init__(self, model: nn.Module):
        self.names = {module: name for name, module in model.named_modules()}
        self.kept: dict[str, list[int]] = {}
        self.dropped: dict[str, list[int]] = {}

    def note(self, graph: Any, group: Any) -> None:
        """Notes a group that is about to be pruned."""
        for item in group.items:
            module = item.dep.target.module
            is_output = graph.is_out_channel_pruning_fn(item.dep.handler)
            if module not in self.names or not is_output:
                continue
            if not list(module.parameters(recurse=False)):
                continue
            name = self.names[module]
            count = graph.get_out_channels(module)
            kept = self.kept.setdefault(name, list(range(count)))
            gone = {int(index) for index in item.idxs}
            self.dropped.setdefault(name, []).extend(kept[index] for index in gone)
            self.kept[name] = [x for i, x in enumerate(kept) if i not in gone]


@torch.no_grad()
def zeroed(model: nn.Module, ledger: Ledger) -> nn.Module:
    """Returns a copy in which the dropped channels are always zero."""
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    for name, dropped in ledger.dropped.items():
        module = modules[name]
        weight = module.weight if hasattr(module, "weight") else None
        if weight is None:
            continue
        transposed = isinstance(module, nn.ConvTranspose2d) and module.groups == 1
        if transposed or isinstance(module, nn.Embedding):
            weight[:, dropped] = 0
        else:
            weight[dropped] = 0
        if getattr(module, "bias", None) is not None:
            module.bias[dropped] = 0
    return model


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Random statistics, scales and shifts, so that no channel looks like another."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.1)
        elif isinstance(getattr(module, "bias", None), torch.Tensor):
            module.bias.normal_(std=0.1)


def exact(name: str) -> dict[str, Any]:
    """Cuts a net in float64 and compares it with the zeroed one."""
    torch.manual_seed(0)
    model = net(name).double()
    is_vit = isinstance(model, torchvision.models.VisionTransformer)
    side = 224 if is_vit else ORACLE_IMAGE
    ignored = []
    if name == HELD:
        # What writes into the residual stream; attention is one module to it.
        ignored = [model.conv_proj]
        for block in model.encoder.layers:
            ignored += [block.self_attention, block.mlp[3]]
    if is_vit:
        # Torchvision starts the classifier at zero, which would hide everything.
        nn.init.normal_(model.heads.head.weight, std=0.05)
    example = torch.randn(1, 3, side, side, dtype=torch.float64)
    settings = {"global_pruning": True, "pruning_ratio": RATIO, "ignored": ignored}
    return compare(model, example, settings)


def compare(model: nn.Module, example: Any, settings: dict) -> dict[str, Any]:
    """Prunes once; how far is the result from the model with zeroed channels?"""
    randomize(model)
    whole, ties = copy.deepcopy(model), _ties(model)
    before = sum(p.numel() for p in model.parameters())
    ledger = Ledger(model)
    pruner = pruner_of(model, example, **settings)
    for group in pruner.step(interactive=True):
        ledger.note(pruner.DG, group)
        group.prune()
    adapt(model)
    found = {"removed": 1 - sum(p.numel() for p in model.parameters()) / before}
    found["ties"] = len(_ties(model)) == len(ties)
    with torch.no_grad():
        expected = zeroed(whole, ledger)(example)
        try:
            actual = model(example)
        # Torch raises errors of many kinds where shapes do not fit.
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            return found | {"run_error": f"{type(error).__name__}: {error}"}
    return found | {"difference": _difference(actual, expected)}


def _ties(model: nn.Module) -> list[Any]:
    """Returns the parameters that have several names."""
    names = [id(p) for _, p in model.named_parameters(remove_duplicate=False)]
    return [key for key in set(names) if names.count(key) > 1]


def _difference(actual: Any, expected: Any) -> float | None:
    """Returns the largest relative difference; none if shapes differ."""
    pairs = [(actual, expected)]
    if isinstance(expected, tuple):
        pairs = list(zip(actual, expected, strict=True))
    if any(x.shape != y.shape for x, y in pairs):
        return None
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)


def hard(name: str) -> dict[str, Any]:
    """Cuts one of the small nets with default options; the head stays."""
    from benchmarks.peers import torch_hard

    torch.manual_seed(0)
    model, example = getattr(torch_hard, name)()
    model = model.double().eval()
    if example.is_floating_point():
        example = example.double()
    settings = {"pruning_ratio": HARD_RATIO, "ignored": [model.head]}
    return compare(model, example, settings)


def main(kind: str, name: str, limit_s: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    if kind in ("ratio", "budget"):
        return cut(kind, name, float(limit_s))
    return {"exact": exact, "hard": hard}[kind](name)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
