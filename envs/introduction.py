"""Where agents begin: a normal distribution with learned mean, covariance and end.

Its parameters are rows of C numbers: the mean, logarithms of deviations, what each observation has
of those before it (the strict lower triangle of a matrix, which with the deviations makes up any
covariance), and the share of an agent's training that it lasts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def introduction_size(size: int) -> int:
    """C, for observations of `size` numbers."""
    return 2 * size + size * (size - 1) // 2 + 1


def draw(parameters: Tensor, noise: Tensor) -> Tensor:
    """Points `[P, N, O]` of distributions `[P, C]`, for noise `[P, N, O]` ~ N(0, I)."""
    size = noise.shape[-1]
    mean, reach, mixing = parameters[:, :-1].tensor_split([size, 2 * size], 1)
    row, column = torch.tril_indices(size, size, -1)
    matrix = torch.eye(size, dtype=noise.dtype).repeat(len(parameters), 1, 1)
    matrix[:, row, column] = mixing
    return mean.unsqueeze(1) + noise @ matrix.mT * reach.exp().unsqueeze(1)


def lasts(parameters: Tensor, progress: Tensor | float) -> Tensor:
    """Whether it lasts still: `[P, 1]` at one progress, `[P, N]` at those `[N]` or `[P, N]`."""
    return torch.as_tensor(progress, dtype=parameters.dtype) < parameters[:, -1:]


def independent(mean: Tensor, deviation: Tensor, share: float) -> Tensor:
    """Parameters `[C]` of independent observations: mean `[O]`, deviation `[O]`."""
    size = len(mean)
    mixing = mean.new_zeros(size * (size - 1) // 2)
    return torch.cat([mean, deviation.log(), mixing, mean.new_tensor([share])])


def stretched(parameters: Tensor, size: int, times: float, share: float) -> Tensor:
    """Parameters `[P, C]` of the same with states farther apart, and of another length.

    Args:
        parameters: `[P, C]`.
        size: O.
        times: What all deviations are multiplied by.
        share: Of an agent's training that it lasts; as long as before if 0.
    """
    other = parameters.clone()
    other[:, size : 2 * size] += math.log(times)
    if share:
        other[:, -1] = share
    return other
