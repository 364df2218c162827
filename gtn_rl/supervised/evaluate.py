"""Fresh classifiers of a teacher: their training and their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gtn_rl.agents.classifier import Classifiers, draw, fit, parse_group
from gtn_rl.seeding import generator
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part

if TYPE_CHECKING:
    from gtn_rl.supervised.teachers import Teacher

_TEST = 4  # The stream beside those of `problem` and `train`.


def taught(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    generator: torch.Generator,
    *,
    create_graph: bool = False,
    keep: set[int] | frozenset[int] = frozenset(),
    count: int | None = None,
) -> list[Classifiers]:
    """Fresh classifiers, trained by a teacher.

    Args:
        teacher: A `teachers.Teacher`.
        data: For its shape and classes.
        config: Kinds of learners, and how many kinds to draw.
        generator: Source of all randomness.
        create_graph: Whether they are to be differentiated w.r.t. the teacher.
        keep: Numbers of steps after which they are wanted as well.
        count: Learners of each kind, if not as in the settings.

    Returns:
        A stack for each kind of learner and kept step.
    """
    groups = [parse_group(text) for text in config.learners]
    if 0 < config.draw < len(groups):
        chosen = torch.randperm(len(groups), generator=generator)[: config.draw]
        groups = [groups[index] for index in chosen.tolist()]
    told: Teacher = teacher  # type: ignore[assignment]
    stacks: list[Classifiers] = []
    with torch.set_grad_enabled(create_graph):
        for group in groups:
            group = group if count is None else replace(group, count=count)
            dtype = next(teacher.parameters()).dtype
            fresh = draw(
                group, data.shape, data.classes, generator=generator, dtype=dtype,
                weight_norm=config.weight_norm,
            )  # fmt: skip
            lesson = told.lesson(group.count, generator)
            stacks += fit(
                fresh, lesson, create_graph=create_graph, keep=keep, segment=config.segment
            )
    return stacks


def accuracy(classifiers: Classifiers, part: Part) -> Tensor:
    """Accuracies `[K]` in percent."""
    inputs = part.inputs.to(classifiers.parameters.dtype).unsqueeze(0)
    with torch.no_grad():
        right = classifiers.logits(inputs).argmax(-1) == part.labels
        return right.to(torch.float64).mean(-1) * 100


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
