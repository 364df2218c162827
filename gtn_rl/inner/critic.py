"""State values of the real task, shared by all learners and kept across outer steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtn_rl.networks import MLP, orthogonal


class Critic(nn.Module):
    """A value network over normalised observations, in units of the returns' deviation.

    The units follow the returns it is fitted to, so that no task's reward scale needs a setting.

    Args:
        mean: Mean of the target's observations, `[O]`.
        std: Their standard deviation, `[O]`.
    """

    mean: Tensor
    std: Tensor
    units: Tensor

    def __init__(
        self,
        mean: Tensor,
        std: Tensor,
        *,
        generator: torch.Generator,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.network = MLP((mean.shape[0], 64, 64, 1))
        self.row = nn.Parameter(orthogonal(self.network, 1, output_gain=1.0, generator=generator))
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        # Location and scale of the returns; before the first fit every value is 0.
        self.register_buffer("units", torch.zeros(2))
        self.optimizer = torch.optim.Adam(self.parameters(), learning_rate)

    def forward(self, observation: Tensor) -> Tensor:
        """Values `[...]` of observations `[..., O]`."""
        flat = ((observation - self.mean) / self.std).reshape(1, -1, observation.shape[-1])
        value = self.network(self.row, flat).view(observation.shape[:-1])
        return self.units[0] + self.units[1] * value

    def fit(
        self,
        observation: Tensor,
        target: Tensor,
        generator: torch.Generator,
        *,
        epochs: int = 4,
        batch_size: int = 1024,
    ) -> float:
        """Regress on targets `[M]` of observations `[M, O]`.

        Returns:
            Mean squared error over the last epoch, relative to the targets' variance.
        """
        deviation, mean = torch.std_mean(target)
        self.units.copy_(torch.stack([mean, deviation.clamp_min(1e-6)]))
        error = 0.0
        for _ in range(epochs):
            error = 0.0
            order = torch.randperm(len(target), generator=generator)
            for index in torch.split(order, batch_size):
                difference = (self(observation[index]) - target[index]) / self.units[1]
                loss = difference.square().mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                error += float(loss.detach()) * len(index) / len(target)
        return error
