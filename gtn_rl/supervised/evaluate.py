"""Final judgement: fresh classifiers of a finished teacher on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from gtn_rl.seeding import generator
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data
from gtn_rl.supervised.problem import accuracy, taught

_TEST = 4  # The stream beside those of `problem` and `train`.


def final_accuracies(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    seed: int,
    *,
    learners: Sequence[str] = (),
    count: int = 32,
    on: str = "test",
) -> Tensor:
    """Accuracies in percent of fresh classifiers, `count` of each kind: `[kinds * count]`.

    Args:
        teacher: Finished; nothing may be chosen by what this returns.
        data: The task.
        config: Settings it was trained with.
        seed: Of the classifiers.
        learners: Kinds of classifiers; those it was trained with if not given.
        count: Classifiers of each kind.
        on: Part of the data.
    """
    kinds = tuple(learners) or config.learners
    stacks = taught(
        teacher, data, replace(config, learners=kinds, draw=0), generator(seed, _TEST), count=count
    )
    return torch.cat([accuracy(stack, getattr(data, on)) for stack in stacks])
