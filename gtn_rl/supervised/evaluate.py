"""Fresh classifiers of a teacher: their training and their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gtn_rl.agents.classifier import Classifiers, Lesson, draw, fit
from gtn_rl.agents.spec import parse_group
from gtn_rl.seeding import generator
from gtn_rl.supervised.augment import augmented
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part

if TYPE_CHECKING:
    from gtn_rl.supervised.teachers import Teacher

# Random streams beside those of `problem`, `reconstruct` and `train`.
_EVALUATION, _TEST = 2, 4


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
        create_graph: Whether they are to be differentiated w.r.t. the teacher; the window and the
            intermediate points of the settings are for that alone.
        keep: Numbers of steps after which they are wanted as well, if not differentiated.
        count: Learners of each kind, if not as in the settings.

    Returns:
        A stack for each kind of learner and kept step.
    """
    config = config.suited(data.shape)
    groups = [parse_group(text) for text in config.learners]
    if 0 < config.draw < len(groups):
        chosen = torch.randperm(len(groups), generator=generator)[: config.draw]
        groups = [groups[index] for index in chosen.tolist()]
    start, end = 0, config.inner_steps
    if create_graph:
        if 0 < config.window < end:
            end = int(torch.randint(config.window, end + 1, (), generator=generator))
            start = end - config.window
        points = range(1, config.intermediate)
        keep = {start + round((end - start) * point / config.intermediate) for point in points}
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
            lesson = Lesson(*(field[:end] for field in told.lesson(group.count, generator)))
            inputs = augmented(
                lesson.inputs, data.shape, flip=config.flip, crop=config.crop, generator=generator
            )
            stacks += fit(
                fresh, lesson._replace(inputs=inputs), create_graph=create_graph, start=start,
                keep=keep, segment=config.segment,
            )  # fmt: skip
    return stacks


def accuracy(classifiers: Classifiers, part: Part) -> Tensor:
    """Accuracies `[K]` in percent."""
    right = torch.zeros(len(classifiers.parameters), dtype=torch.float64)
    with torch.no_grad():
        # By the thousand: images and their channels fill the memory.
        for start in range(0, len(part), 1_000):
            inputs = part.inputs[start : start + 1_000].to(classifiers.parameters.dtype)
            logits, labels = classifiers.logits(inputs[None]), part.labels[start : start + 1_000]
            right += (logits.argmax(-1) == labels).sum(-1)
    return right / len(part) * 100


def validation(
    teacher: nn.Module, data: Data, config: SupervisedConfig, step: int
) -> dict[str, float]:
    """Validation accuracies, in percent, of fresh classifiers: mean and worst."""
    stream = generator(config.seed, _EVALUATION, step)
    percent = torch.cat(
        [
            accuracy(stack, data.validation)
            for _ in range(config.exams)
            for stack in taught(teacher, data, config, stream)
        ]
    )
    return {"evaluation": float(percent.mean()), "evaluation_min": float(percent.min())}


def final_accuracies(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    seed: int,
    *,
    learners: Sequence[str] = (),
    count: int = 16,
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
    own = replace(config, learners=tuple(learners) or config.learners, draw=0)
    source = generator(seed, _TEST)
    # One by one: real data for all of them fill the memory.
    stacks = [s for _ in range(count) for s in taught(teacher, data, own, source, count=1)]
    return torch.cat([accuracy(stack, getattr(data, on)) for stack in stacks])
