"""The networks that a search chooses from, and what they cost."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from gtn_rl.agents.classifier import parse_group
from gtn_rl.errors import UsageError
from gtn_rl.seeding import derive
from gtn_rl.supervised.data import Data

MLP_UNITS = (4, 8, 16, 32, 64, 128)
CNN_CHANNELS = (2, 4, 8, 16, 32)
KINDS = ("mlp", "cnn3", "cnn5", "cnn7")
ACTIVATIONS = ("relu", "tanh")
_STREAM = 12


def candidates(count: int, seed: int) -> list[str]:
    """Different networks of one to three layers, as `parse_group` reads them.

    Args:
        count: How many.
        seed: Of the choice.

    Raises:
        UsageError: More than the space holds.
    """
    if not 0 < count <= 500:
        raise UsageError(f"candidates must be from 1 to 500, got {count}")
    source = np.random.default_rng(derive(seed, _STREAM))
    found: dict[str, None] = {}
    while len(found) < count:
        kind = KINDS[source.integers(len(KINDS))]
        units = MLP_UNITS if kind == "mlp" else CNN_CHANNELS
        chosen = source.choice(units, source.integers(1, 4))
        activation = ACTIVATIONS[source.integers(len(ACTIVATIONS))]
        found[f"{kind}@{activation}:{'-'.join(map(str, chosen))}"] = None
    return list(found)


def parameters_of(text: str, data: Data) -> int:
    """Parameters of a candidate for a task."""
    return parse_group(text).network(data.shape, data.classes).num_parameters


def memory_kb(text: str, data: Data) -> float:
    """KiB of a candidate's parameters in single precision."""
    return parameters_of(text, data) * 4 / 1024


def latency_us(text: str, data: Data, *, repeats: int = 50) -> float:
    """Median microseconds of a candidate's forward pass for one example, on this machine."""
    network = parse_group(text).network(data.shape, data.classes)
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
