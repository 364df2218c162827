"""Teachers as functions of other parameters, and what keeps a few learners from drowning others."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def with_rows(teacher: M, rows: Tensor) -> M:
    """A teacher of as many members as rows `[P, D]`, its parameters functions of these."""
    names = [name for name, _ in teacher.named_parameters()]
    parts: tuple[Tensor, ...] = torch.split(rows, [p.shape[1] for p in teacher.parameters()], 1)
    other = copy.copy(teacher)
    # Functions of parameters in the place of parameters, as torch.func.functional_call has them.
    other._parameters = dict(zip(names, parts, strict=True))  # type: ignore[arg-type]
    return other


def one_per_learner(teacher: M, count: int) -> M:
    """The one teacher once for each of some learners, no gradient longer than their median."""
    rows = torch.cat(list(teacher.parameters()), 1).expand(count, -1)
    if rows.requires_grad:
        rows.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: clip_to_median(gradient, torch.ones(()))
        )
    return with_rows(teacher, rows)


def clip_data_to_median(data: Tensor, std: Tensor) -> None:
    """Have learners' gradients w.r.t. their data shortened to the median length of all.

    Data are observations and lessons `[C, ..., O + L]`, a row for each learner; the unit of
    observations is their deviation `[O]`.
    """
    if data.requires_grad:
        weight = torch.cat([std, std.new_ones(data.shape[-1] - len(std))])
        data.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: clip_to_median(gradient, weight)
        )


def clip_to_median(gradient: Tensor, weight: Tensor) -> Tensor:
    """Shorten each learner's gradient `[C, ...]` w.r.t. its data to their median length.

    The training of some learners is chaotic, and their gradient longer by orders of magnitude and
    without direction; it would drown all others'. Weights are units of the last axis, so that
    lengths are not those of one observation alone.
    """
    length = (gradient * weight).flatten(1).norm(dim=1)
    finite = length.isfinite()
    if not finite.any():
        return gradient
    share = (length[finite].median() / length.clamp_min(1e-30)).clamp(max=1)
    share = torch.where(finite, share, 0.0).view(-1, *[1] * (gradient.dim() - 1))
    return torch.where(share > 0, gradient * share, 0.0)
