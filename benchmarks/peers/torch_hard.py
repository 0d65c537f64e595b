"""The small hard nets in torch. Each function returns a model and an example input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

WIDTH = 16


class Net(nn.Module):
    """Some parts and how they are called."""

    def __init__(self, call: Callable[[Any, Any], Any], **parts: nn.Module):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.call(self, x)


def conv(inputs: int, outputs: int = WIDTH, size: int = 3, **settings: Any) -> Any:
    """A convolution that keeps the grid, BatchNorm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, **settings)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _images(call: Callable, head: nn.Module, **parts: nn.Module) -> Any:
    return Net(call, head=head, **parts), torch.randn(2, 3, 8, 8)


def _pooled(call: Callable, features: int = WIDTH, **parts: nn.Module) -> Any:
    """Features, mean of every channel, head."""
    head = nn.Linear(features, 5)
    return _images(lambda n, x: n.head(call(n, x).mean((2, 3))), head, **parts)


def same_twice() -> Any:
    def call(n: Any, x: Any) -> Any:
        x = n.a(x)
        return n.b(torch.cat([x, x], 1))

    return _pooled(call, a=conv(3), b=conv(2 * WIDTH))


def concat_groups() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.c(n.grouped(torch.cat([n.a(x), n.b(x)], 1)))

    grouped = conv(24, 24, groups=2)
    return _pooled(call, a=conv(3, 16), b=conv(3, 8), grouped=grouped, c=conv(24))


def depthwise_two() -> Any:
    deep = conv(WIDTH, 2 * WIDTH, groups=WIDTH)
    return _pooled(
        lambda n, x: n.b(n.deep(n.a(x))), a=conv(3), deep=deep, b=conv(2 * WIDTH)
    )


def permute_flatten() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.head(n.a(x).permute(0, 2, 3, 1).flatten(1))

    return _images(call, nn.Linear(64 * WIDTH, 5), a=conv(3))


def _shuffled(x: Any, groups: int) -> Any:
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


def channel_shuffle() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.b(_shuffled(n.a(x), 4))

    return _pooled(call, a=conv(3), b=conv(WIDTH))


def shuffle_unit() -> Any:
    def call(n: Any, x: Any) -> Any:
        left, right = n.a(x).chunk(2, 1)
        return n.c(_shuffled(torch.cat([left, n.b(right)], 1), 2))

    return _pooled(call, a=conv(3), b=conv(WIDTH // 2, WIDTH // 2), c=conv(WIDTH))


def split_of_split() -> Any:
    def call(n: Any, x: Any) -> Any:
        left, right = n.a(x).chunk(2, 1)
        upper, lower = n.b(right).chunk(2, 1)
        return n.d(torch.cat([left, upper, n.c(lower)], 1))

    half, quarter = WIDTH // 2, WIDTH // 4
    return _pooled(
        call, a=conv(3), b=conv(half, half), c=conv(quarter, quarter), d=conv(WIDTH)
    )


def pixel_shuffle() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.b(functional.pixel_shuffle(n.a(x), 2))

    return _pooled(call, a=conv(3, 4 * WIDTH), b=conv(WIDTH))


def padded_shortcut() -> Any:
    def call(n: Any, x: Any) -> Any:
        x = n.a(x)
        shortcut = functional.pad(x, (0, 0, 0, 0, 4, 4))
        return n.c(shortcut + n.b(x))

    return _pooled(call, a=conv(3, 8), b=conv(8), c=conv(WIDTH))


def one_channel_mask() -> Any:
    def call(n: Any, x: Any) -> Any:
        x = n.a(x)
        return n.b(x * torch.sigmoid(n.mask(x)))

    return _pooled(call, a=conv(3), mask=nn.Conv2d(WIDTH, 1, 1), b=conv(WIDTH))


def returned_features() -> Any:
    def call(n: Any, x: Any) -> Any:
        features = n.a(x)
        return features, n.head(n.b(features).mean((2, 3)))

    return _images(call, nn.Linear(WIDTH, 5), a=conv(3), b=conv(WIDTH))


def two_flattened() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.head(n.c(torch.cat([n.a(x).flatten(1), n.b(x).flatten(1)], 1)))

    c = nn.Linear(2 * 64 * WIDTH, 32)
    return _images(call, nn.Linear(32, 5), a=conv(3), b=conv(3), c=c)


def bilinear() -> Any:
    def call(n: Any, x: Any) -> Any:
        left, right = n.a(x).flatten(2), n.b(x).flatten(2)
        return n.head((left @ right.transpose(1, 2)).flatten(1))

    return _images(call, nn.Linear(WIDTH * 8, 5), a=conv(3), b=conv(3, 8))


def attention_by_hand() -> Any:
    def call(n: Any, x: Any) -> Any:
        x = n.embed(x)
        parts = [f(x).view(*x.shape[:2], 4, -1).transpose(1, 2) for f in (n.q, n.k, n.v)]
        scores = parts[0] @ parts[1].transpose(-1, -2) / 2
        y = (scores.softmax(-1) @ parts[2]).transpose(1, 2).flatten(2)
        return n.head(n.out(y).mean(1))

    parts = {key: nn.Linear(WIDTH, WIDTH) for key in ("q", "k", "v", "out")}
    net = Net(call, head=nn.Linear(WIDTH, 5), embed=nn.Linear(6, WIDTH), **parts)
    return net, torch.randn(2, 7, 6)


def mixer() -> Any:
    def call(n: Any, x: Any) -> Any:
        x = n.embed(x)
        y = n.tokens_out(functional.relu(n.tokens_in(x.transpose(1, 2))))
        x = x + y.transpose(1, 2)
        x = x + n.channels_out(functional.relu(n.channels_in(x)))
        return n.head(x.mean(1))

    net = Net(
        call,
        head=nn.Linear(WIDTH, 5),
        embed=nn.Linear(6, WIDTH),
        # No biases: they would fill a zeroed channel again.
        tokens_in=nn.Linear(7, 12, bias=False),
        tokens_out=nn.Linear(12, 7, bias=False),
        channels_in=nn.Linear(WIDTH, 32),
        channels_out=nn.Linear(32, WIDTH),
    )
    return net, torch.randn(2, 7, 6)


def tied_embedding() -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.head(n.out(functional.relu(n.hidden(n.embed(x)))))

    net = Net(
        call,
        head=nn.Linear(WIDTH, 20, bias=False),
        embed=nn.Embedding(20, WIDTH),
        hidden=nn.Linear(WIDTH, 32),
        out=nn.Linear(32, WIDTH),
    )
    net.head.weight = net.embed.weight
    return net, torch.randint(20, (2, 7))


def _recurrent(layer: type[nn.Module]) -> Any:
    def call(n: Any, x: Any) -> Any:
        return n.head(n.recurrent(n.embed(x))[0][:, -1])

    recurrent = layer(WIDTH, 12, batch_first=True)
    net = Net(
        call, head=nn.Linear(12, 5), embed=nn.Linear(6, WIDTH), recurrent=recurrent
    )
    return net, torch.randn(2, 7, 6)


def lstm() -> Any:
    return _recurrent(nn.LSTM)


def gru() -> Any:
    return _recurrent(nn.GRU)
