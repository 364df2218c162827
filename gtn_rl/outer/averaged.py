"""The moving average of a teacher's parameters."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Averaged:
    """A teacher and the moving average of its parameters.

    Args:
        teacher: Changed by its owner.
        decay: Of the average.
    """

    def __init__(self, teacher: nn.Module, decay: float) -> None:
        def blend(average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            # The plain mean until it is longer than the decay's memory: no bias to the start.
            return average.lerp(new, max(1 - decay, 1 / (int(count) + 1)))

        self.module = AveragedModel(teacher, avg_fn=blend).requires_grad_(False)

    @property
    def teacher(self) -> nn.Module:
        module: nn.Module = self.module.module
        return module
