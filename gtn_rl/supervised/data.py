"""Classification data: real examples in three parts, the last of which no training sees."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gtn_rl.errors import UsageError
from gtn_rl.seeding import generator


@dataclass(frozen=True)
class Part:
    """Inputs `[N, F]`, flat, and their classes `[N]`."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Examples."""
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """A classification task.

    Args:
        name: Of the task.
        shape: Of an input: `(features,)`, `(channels, length)` or `(channels, height, width)`.
        classes: C.
        train: What the meta-gradient is computed on.
        validation: What a run is watched by.
        test: What is scored at the very end, and never before.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    train: Part
    validation: Part
    test: Part


def from_arrays(
    name: str,
    inputs: ArrayLike,
    labels: ArrayLike,
    *,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> Data:
    """Data from arrays, split at random and scaled to mean 0 and deviation 1.

    Args:
        name: Of the task.
        inputs: `[N, features]`, `[N, channels, length]` or `[N, channels, height, width]`.
        labels: Classes `[N]`, whole numbers from 0.
        test: Inputs and labels of the test set; a share of the others if not given.
        validation_share: Share of the examples that a run is watched by.
        test_share: Share of the examples that is the test set, if none is given.
        seed: Of the split.

    Raises:
        UsageError: Arrays that do not fit each other, are not finite, or are too few.
    """
    x, y = _checked(name, inputs, labels)
    order = torch.randperm(len(y), generator=generator(seed))
    x, y = x[order], y[order]
    if test is None:
        cut = round(len(y) * test_share)
        x_test, y_test, x, y = x[:cut], y[:cut], x[cut:], y[cut:]
    else:
        x_test, y_test = _checked(name, *test)
        if x_test.shape[1:] != x.shape[1:]:
            raise UsageError(
                f"{name}: test inputs have shape {tuple(x_test.shape[1:])}, the others "
                f"{tuple(x.shape[1:])}: give both the same"
            )
    cut = round(len(order) * validation_share)
    if min(cut, len(y) - cut, len(y_test)) < 1:
        raise UsageError(
            f"{name}: {len(order)} examples leave a part empty: give more, or other shares"
        )
    # One mean and deviation for all features: a pixel that is always 0 must not become noise.
    deviation, mean = torch.std_mean(x[cut:])
    scale = deviation.clamp_min(1e-8)

    def part(inputs: Tensor, labels: Tensor) -> Part:
        # In place: images by the ten thousand fill the memory.
        return Part(inputs.sub_(mean).div_(scale).flatten(1), labels)

    return Data(
        name, tuple(x.shape[1:]), int(torch.cat([y, y_test]).max()) + 1,
        part(x[cut:], y[cut:]), part(x[:cut], y[:cut]), part(x_test, y_test),
    )  # fmt: skip


def from_torch(name: str, dataset: Any, test: Any = None, **options: Any) -> Data:
    """Data from a map-style `torch.utils.data.Dataset` of `(input, class)` pairs.

    Args:
        name: Of the task.
        dataset: Its inputs are tensors, arrays or PIL images of one size.
        test: The test set as another such dataset; a share of the first if not given.
        **options: As of `from_arrays`.

    Raises:
        UsageError: Not such a dataset.
    """

    def arrays(pairs: Any) -> tuple[np.ndarray[Any, Any], list[int]]:
        try:
            examples = [pairs[index] for index in range(len(cast(Sized, pairs)))]
            return np.stack([np.asarray(x) for x, _ in examples]), [int(y) for _, y in examples]
        except (TypeError, ValueError, IndexError) as error:
            raise UsageError(
                f"{name}: needs a dataset with a length whose items are (input, class) pairs of "
                f"one shape ({error})"
            ) from error

    return from_arrays(
        name, *arrays(dataset), test=None if test is None else arrays(test), **options
    )


def _checked(name: str, inputs: ArrayLike, labels: ArrayLike) -> tuple[Tensor, Tensor]:
    try:
        x = torch.tensor(np.asarray(inputs), dtype=torch.float32)
        y = torch.tensor(np.asarray(labels))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: inputs and labels must be arrays of numbers") from error
    if x.dim() not in (2, 3, 4) or y.shape != x.shape[:1]:
        raise UsageError(
            f"{name}: inputs must be [N, features], [N, channels, length] or [N, channels, height, "
            f"width] and labels [N], got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if y.is_floating_point() or y.is_complex() or (y.numel() and int(y.min()) < 0):
        raise UsageError(f"{name}: labels must be whole numbers from 0")
    if not x.isfinite().all():
        raise UsageError(f"{name}: some inputs are not finite: mend or drop them")
    return x, y.long()
