"""Gradient checkpointing of a loop whose steps take gradients themselves.

`torch.utils.checkpoint` will not do: without reentry, each gradient that is taken inside runs the
whole part again (64 steps took four times the memory and six times the time of no checkpointing),
and with reentry it cannot be differentiated by `torch.autograd.grad`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Run = Callable[[Any, bool], Any]
"""Takes a state (tensors in nested tuples) and whether to keep a graph; gives the next state."""


def replay(run: Run, state: Any, parameters: Sequence[Tensor]) -> Any:
    """`run(state, True)`, whose graph is made only when its gradient is wanted.

    Args:
        run: A function of the state and of the parameters, the same each time it is called.
        state: Tensors, and other things, in nested tuples.
        parameters: What else the gradient is wanted for.
    """
    tensors = list(_tensors(state))
    box: list[Any] = []
    results = _Replay.apply(run, state, box, len(tensors), *tensors, *parameters)  # type: ignore[no-untyped-call]
    return _with_tensors(box[0], iter(results))


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, state: Any, box: list[Any], count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.run, ctx.state, ctx.count = (
            run,
            _with_tensors(state, (t.detach() for t in tensors)),
            count,
        )
        ctx.save_for_backward(*tensors)
        result = run(_with_tensors(state, (t.detach() for t in tensors)), False)
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
