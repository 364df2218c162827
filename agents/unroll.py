"""The one inner loop: all learners train by it, and it is differentiated by gradient checkpointing.

`torch.utils.checkpoint` will not do: without reentry, each gradient that is taken inside runs the
whole part again (64 steps took four times the memory and six times the time of no checkpointing),
and with reentry it cannot be differentiated by `torch.autograd.grad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gtn_rl.agents.optim import Optimizer, OptimizerState

EPS_ROOT = 1e-16
"""Too small to tell from none, but the root's derivative is finite where a gradient is zero."""

Weights = tuple[Tensor, OptimizerState]
"""Parameters `[K, D]` and the state of their optimizer."""


def unroll(
    run: Callable[[Any, int, int, bool], Any], state: Any, total: int, *, create_graph: bool,
    last: int = 0, segment: int = 0, parameters: Sequence[Tensor] = (),
) -> Any:  # fmt: skip
    """The state after all updates of a training.

    Args:
        run: Called with a state, the number of the first update, that of the update after the last,
            and whether to keep a graph; gives the next state.
        state: Tensors, and other things, in nested tuples.
        total: Number of updates.
        last: Differentiate through this many last updates only (truncation); all if 0.
        segment: Keep the graph of so many updates at a time and run them again when it is needed
            (gradient checkpointing); of all at once if 0.
        parameters: What the gradient is wanted for besides the state.
    """
    first = (max(total - last, 0) if last else 0) if create_graph else total
    if first:
        with torch.no_grad():
            state = run(state, 0, first, False)
    for begin in range(first, total, segment or max(total, 1)):
        stop = min(begin + (segment or total), total)
        if not segment:
            return run(state, begin, stop, True)

        def part(state: Any, graph: bool, begin: int = begin, stop: int = stop) -> Any:
            return run(state, begin, stop, graph)

        state = replay(part, state, parameters)
    return state


def descend(
    weights: Weights, gradient: Callable[[Tensor], Tensor], optimizer: Optimizer, rate: Tensor,
    create_graph: bool, max_norm: float = math.inf,
) -> Weights:  # fmt: skip
    """Parameters and optimizer after one step.

    `gradient` gives descent directions `[K, D]`, shortened to `max_norm`, at parameters that are
    another tensor than those of `weights`, which whatever is held fixed may depend on. Step sizes
    are `[K, 1]`.
    """
    parameters, moments = weights
    here = parameters.view_as(parameters) if create_graph else parameters.detach()
    if not here.requires_grad:
        here.requires_grad_()
    with torch.enable_grad():
        direction = gradient(here)
    with torch.set_grad_enabled(create_graph):
        if math.isfinite(max_norm):
            direction = shorten(direction, max_norm)
        return optimizer.step(parameters, direction, moments, rate)


def shorten(gradient: Tensor, norm: float) -> Tensor:
    """Rows `[R, D]` that are no longer than a norm, as `torch.nn.utils.clip_grad_norm_` does."""
    length = (gradient.square().sum(1, keepdim=True) + EPS_ROOT).sqrt()
    return gradient * (norm / (length + 1e-6)).clamp(max=1)


def replay(run: Callable[[Any, bool], Any], state: Any, parameters: Sequence[Tensor]) -> Any:
    """`run(state, True)`, whose graph is made only when its gradient is wanted.

    It must be a function of the state and of the parameters, the same each time it is called.
    """
    tensors = list(_tensors(state))
    box: list[Any] = []
    results = _Replay.apply(run, state, box, len(tensors), *tensors, *parameters)  # type: ignore[no-untyped-call]
    return _with_tensors(box[0], iter(results))


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Callable[[Any, bool], Any], state: Any, box: list[Any], count: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.run, ctx.count = run, count
        ctx.state = _with_tensors(state, (t.detach() for t in tensors))
        ctx.save_for_backward(*tensors)
        result = run(ctx.state, False)
        box.append(result)
        return tuple(tensor.detach() for tensor in _tensors(result))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        parameters = saved[ctx.count :]
        inputs = [
            tensor.detach().requires_grad_(tensor.is_floating_point())
            for tensor in saved[: ctx.count]
        ]
        with torch.enable_grad():
            results = list(_tensors(ctx.run(_with_tensors(ctx.state, iter(inputs)), True)))
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if r.requires_grad]
        wanted = [tensor for tensor in (*inputs, *parameters) if tensor.requires_grad]
        found = torch.autograd.grad(
            [result for result, _ in pairs], wanted, [gradient for _, gradient in pairs],
            allow_unused=True,
        )  # fmt: skip
        given = iter(found)
        every = [next(given) if t.requires_grad else None for t in (*inputs, *parameters)]
        return (None, None, None, None, *every)


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _tensors(part)


def _with_tensors(state: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(state, Tensor):
        return next(tensors)
    if isinstance(state, tuple):
        parts = [_with_tensors(part, tensors) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state
