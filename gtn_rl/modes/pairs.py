"""The teacher of behaviour distillation: k learned (state, action) pairs and learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gtn_rl.agents.cloning import OPTIMIZERS, Cloning, clone, fold
from gtn_rl.agents.learners import Learners
from gtn_rl.agents.spec import Spec
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.networks import ACTIVATIONS
from gtn_rl.spaces import action_size, halves

_MODULES: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Pairs(nn.Module):
    """k states `[k, O]`, the actions `[k, A]` to take there, and T learning rates to learn them by.

    A fresh policy that takes T full-batch gradient steps on them acts well in the target. The pairs
    are those of Lupu et al. 2024 (HaDES, section 4), learned by the meta-gradient of Such et al.
    2020 (section 3) instead of evolution; with T = 1 they are one batch for one step (Wilhelm and
    Ventura 2025). Probabilities serve as actions of a `Discrete` space.

    Args:
        target: Id of the environment whose spaces these are.
        count: k.
        steps: T.
        optimizer: Of the policies, `"sgd"` or `"adam"`.
        learning_rate: All learning rates before they are learned.
        mean: Mean of the target's observations, `[O]`; 0 if not given.
        std: Their deviation, `[O]`; 1 if not given.
        members: If not 0, so many sets of pairs side by side, each of which teaches one row of a
            stack of policies; what is `[k, ...]` is `[members, k, ...]` then.
        generator: Source of the initial pairs.

    Raises:
        UsageError: No pairs, no steps, no positive learning rate, or no such optimizer.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Discrete | spaces.Box,
        *,
        target: str = "",
        count: int = 4,
        steps: int = 50,
        optimizer: str = "sgd",
        learning_rate: float = 0.3,
        mean: NDArray[np.floating] | None = None,
        std: NDArray[np.floating] | None = None,
        members: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(count, steps) < 1:
            raise UsageError(f"pairs and steps must be at least 1, got {count} and {steps}")
        if not learning_rate > 0:
            raise UsageError(f"the learning rate must be positive, got {learning_rate}")
        if optimizer not in OPTIMIZERS:
            raise UsageError(
                f"unknown optimizer {optimizer!r}: use one of {', '.join(OPTIMIZERS)}."
                f"{did_you_mean(optimizer, OPTIMIZERS)}"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.target, self.count, self.steps, self.optimizer = target, count, steps, optimizer
        size, actions = observation_space.shape[0], action_size(action_space)
        for name, value in (
            ("mean", np.zeros(size) if mean is None else mean),
            ("std", np.ones(size) if std is None else std),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(value, np.float32)))
        generator = generator or torch.Generator().manual_seed(0)
        lead = (members, count) if members else (count,)
        self.normal = nn.Parameter(torch.randn(*lead, size, generator=generator))
        # Timid vectors: bold ones end the episodes of most tasks at once.
        spread = 1.0 if self.discrete else 0.1
        self.wanted = nn.Parameter(spread * torch.randn(*lead, actions, generator=generator))
        self.log_rates = nn.Parameter(torch.full((steps,), math.log(learning_rate)))

    @property
    def discrete(self) -> bool:
        """Whether actions are probabilities."""
        return isinstance(self.action_space, spaces.Discrete)

    @property
    def states(self) -> Tensor:
        """The states `[k, O]`, in the target's units."""
        return self.mean + self.std * self.normal

    @property
    def actions(self) -> Tensor:
        """Probabilities `[k, A]` of discrete actions, or vectors in the target's units."""
        if self.discrete:
            return F.softmax(self.wanted, -1)
        middle, half = self._scale()
        return middle + half * self.wanted

    @torch.no_grad()
    def be(self, states: Tensor, outputs: Tensor) -> None:
        """Become these states `[k, O]` with the logits or vectors `[k, A]` of an expert there."""
        middle, half = self._scale()
        self.normal.copy_((states - self.mean) / self.std)
        wanted = (outputs - middle) / half
        self.wanted.copy_(wanted if self.discrete else wanted.clamp(-1, 1))

    @property
    def rates(self) -> Tensor:
        """The learning rate of each step, `[T]`."""
        return self.log_rates.exp()

    def teach(
        self,
        shapes: Sequence[Spec],
        generator: torch.Generator,
        *,
        create_graph: bool = False,
        temperature: float = 1.0,
    ) -> list[Learners[Cloning]]:
        """Fresh policies cloned from the pairs, in stacks; they act on raw observations.

        Args:
            shapes: How many of which network.
            create_graph: Whether they are to be differentiated w.r.t. the pairs.
            temperature: Of discrete policies when they explore.
        """
        algorithm = Cloning(self.discrete, OPTIMIZERS[self.optimizer], temperature)
        with torch.set_grad_enabled(create_graph):
            lesson = self.actions if self.discrete else self.wanted
            trained = clone(
                shapes, algorithm, self.normal, lesson, self.rates, generator=generator,
                create_graph=create_graph,
            )  # fmt: skip
            return [fold(stack, self.mean, self.std, *self._scale()) for stack in trained]

    def clone(
        self, hidden: Sequence[int] = (64, 64), activation: str = "tanh", *, seed: int = 0
    ) -> nn.Sequential:
        """A fresh network `[..., O]` to `[..., A]`, logits or vectors, cloned from the pairs.

        Raises:
            UsageError: No hidden layer, or no such activation.
        """
        if not hidden or min(hidden) < 1 or activation not in ACTIVATIONS:
            raise UsageError(
                f"hidden must be one or more positive integers and activation one of "
                f"{', '.join(ACTIVATIONS)}, got {tuple(hidden)} and {activation!r}"
            )
        source = torch.Generator().manual_seed(seed)
        (stack,) = self.teach([Spec(1, "", activation, tuple(hidden))], source)
        modules: list[nn.Module] = []
        for weight, bias in stack.networks.shapes[0].layers(stack.parameters.detach()):
            linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=weight.dtype)
            linear.load_state_dict({"weight": weight[0].T, "bias": bias[0, 0]})
            modules += [linear, _MODULES[activation]()]
        return nn.Sequential(*modules[:-1])

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Middle and half range of what a network puts out."""
        if isinstance(self.action_space, spaces.Box):
            return halves(self.action_space, self.wanted.dtype)
        return self.wanted.new_zeros(()), self.wanted.new_ones(())
