"""The networks that a search chooses from, and what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gtn_rl.agents.cells import EDGES, OPERATIONS, connected
from gtn_rl.agents.classifier import network_of
from gtn_rl.agents.spec import parse_group
from gtn_rl.errors import UsageError
from gtn_rl.seeding import derive
from gtn_rl.supervised.config import is_image
from gtn_rl.supervised.data import Data

MLP_UNITS = (4, 8, 16, 32, 64, 128)
CNN_CHANNELS = (2, 4, 8, 16, 32)
_STREAM = 12

Choose = Callable[[str, Sequence[Any]], Any]
"""Chooses one of several options for something that has a name."""


def propose(choose: Choose, shape: Sequence[int]) -> str:
    """A network as `parse_group` reads it: of cells for images of 16 by 16 pixels and more.

    Otherwise of one to three layers, an MLP or a CNN.

    Returns:
        The network, or an empty string where what was chosen is none: a cell whose input does not
        reach its output.
    """
    if is_image(shape):
        cell = "".join(choose(f"edge{index}", OPERATIONS) for index in range(len(EDGES)))
        width, cells = choose("width", (4, 8, 16)), choose("cells", (1, 2))
        widths = [f"{width * 2**stage}*{cells}" for stage in range(choose("stages", (2, 3)))]
        return f"cell.{cell}@relu:{'-'.join(widths)}" if connected(cell) else ""
    kind = choose("kind", ("mlp", "cnn3", "cnn5", "cnn7"))
    units = MLP_UNITS if kind == "mlp" else CNN_CHANNELS
    layers = range(choose("layers", (1, 2, 3)))
    chosen = [choose(f"{'mlp' if kind == 'mlp' else 'cnn'}{layer}", units) for layer in layers]
    return f"{kind}@{choose('activation', ('relu', 'tanh'))}:{'-'.join(map(str, chosen))}"


def candidates(count: int, seed: int, shape: Sequence[int]) -> list[str]:
    """Different networks, drawn at random.

    Raises:
        UsageError: More than the space holds.
    """
    if not 0 < count <= 500:
        raise UsageError(f"candidates must be from 1 to 500, got {count}")
    source = np.random.default_rng(derive(seed, _STREAM))
    found: dict[str, None] = {}
    while len(found) < count:
        text = propose(lambda _, options: options[int(source.integers(len(options)))], shape)
        found |= {text: None} if text else {}
    return list(found)


def parameters_of(text: str, data: Data) -> int:
    """Parameters of a candidate for a task."""
    return network_of(parse_group(text), data.shape, data.classes).num_parameters


def memory_kb(text: str, data: Data) -> float:
    """KiB of a candidate's parameters in single precision."""
    return parameters_of(text, data) * 4 / 1024


def latency_us(text: str, data: Data, *, repeats: int = 50) -> float:
    """Median microseconds of a candidate's forward pass for one example, on this machine."""
    network = network_of(parse_group(text), data.shape, data.classes)
    parameters = torch.zeros(1, network.num_parameters)
    example, times = torch.zeros(1, 1, math.prod(data.shape)), []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            network(parameters, example)
            times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


@dataclass(frozen=True)
class Limits:
    """What a network may cost; no limit where there is none.

    Args:
        params: Parameters.
        latency_us: Microseconds of a forward pass for one example, measured on this machine.
        memory_kb: KiB of its parameters.
    """

    params: int | None = None
    latency_us: float | None = None
    memory_kb: float | None = None

    def admit(self, text: str, data: Data) -> bool:
        """Whether a candidate is within the limits."""
        return (
            (self.params is None or parameters_of(text, data) <= self.params)
            and (self.memory_kb is None or memory_kb(text, data) <= self.memory_kb)
            and (self.latency_us is None or latency_us(text, data) <= self.latency_us)
        )
