"""What stages have in common, to be called and not inherited; stages of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.presentation import Phase
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Act, RealEnvs, Target
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.inner.fitness import episodes_of
from gtn_rl.seeding import derive
from gtn_rl.state import State, saving

T = TypeVar("T")
_KIND = "evaluation_of_"


def ignore(*_: Any) -> None:
    """A method of a stage that has nothing to do there."""


def nothing(*_: Any, **__: Any) -> dict[str, Any]:
    """A method of a stage that has nothing to log or to save."""
    return {}


def never(*_: Any) -> bool:
    """The `converged` of a stage that ends by its shares alone."""
    return False


def unchanged(_: Any, teachers: T, step: int) -> T:
    """The `train` of a stage whose learners need no training, or train where they are scored."""
    return teachers


class Keep:
    """An estimator that leaves its teacher to others."""

    tell = nothing
    state_dict, load_state_dict = saving("teacher")

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    def ask(self, step: int) -> nn.Module:
        return self.teacher


class Once:
    """A stage whose one step is a function of what the stages before left.

    Args:
        name: What goes on, in words.
        act: Changes the teacher in place or measures it; gives log entries. The stage has no step
            at all if not given.
        make: The teacher, if it is to be another one.
        reserve: Real steps of `act` at most.
        scored: Whose return `act` measures.
    """

    every, competes, steady = 1, True, True
    reset = close = ignore
    train, converged = unchanged, never
    state_dict, load_state_dict = saving("_row")

    def __init__(
        self,
        name: str,
        act: Callable[[State], dict[str, float]] | None = None,
        make: Callable[[State], nn.Module] = lambda state: state.teacher,
        reserve: Callable[[State], int] = lambda _: 0,
        scored: str = "",
    ) -> None:
        self.name, self._act, self._make, self.reserve = name, act, make, reserve
        self.scored = scored

    def begin(self, state: State) -> None:
        self._state, self.estimator = state, Keep(self._make(state))
        self._row: dict[str, float] = {}

    def objective(self, trained: nn.Module, step: int) -> None:
        assert self._act is not None
        self._row = self._act(self._state)

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        return self._row

    def shares(self, step: int) -> Mapping[str, float]:
        return {"done": float(step) if self._act else 1.0}

    def end(self, state: State) -> None:
        """Hand on the teacher, and the scores of learners by their names."""
        state.teacher = self.estimator.teacher
        kinds = [name for name in self._row if name.startswith(_KIND)]
        state.returns |= {name.removeprefix(_KIND): self._row[name] for name in kinds}


def untrained(task: Target, config: TrainConfig, **settings: Any) -> SyntheticEnv:
    """An environment for a task as the settings want it, its parameters not yet learned."""
    return SyntheticEnv(
        task.observation_space, task.action_space, target=task.id, hidden=config.hidden,
        horizon=config.horizon, budget=config.steps, **settings,
    )  # fmt: skip


def goal_of(task: Target, config: TrainConfig) -> float | None:
    """The return that counts as solved, if there is one."""
    return task.reward_threshold if config.target_return is None else config.target_return


def moments(observations: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[O]` of observations `[M, O]`; 1 where one never moved."""
    std, mean = torch.std_mean(observations, 0)
    # An observation that never moved says nothing of its scale.
    return mean, torch.where(std > 1e-6, std, torch.ones_like(std))


def by_kind(
    returns: Tensor, names: Sequence[str], middle: Callable[[Tensor], float]
) -> dict[str, float]:
    """Log entries for real returns `[K]` of learners: the worst, and the middle of each kind.

    Raises:
        TrainingDivergedError: They are not finite.
    """
    if not returns.isfinite().all():
        raise TrainingDivergedError("the real return is not finite: check the target's rewards")
    row = {"evaluation_min": float(returns.min())}
    for name in dict.fromkeys(names):
        own = torch.tensor([other == name for other in names])
        row[f"evaluation_of_{name}"] = middle(returns[own])
    return row


def mixed(policy: Act, actions: Actions, copies: int, source: torch.Generator) -> Act:
    """A policy of which each of so many copies replaces a larger share by chance, from 0 to all."""
    share = torch.linspace(0, 1, copies).view(1, -1, 1)

    def act(observation: Tensor) -> Tensor:
        chance = torch.rand(observation.shape[:2], generator=source).unsqueeze(-1)
        random = actions.uninformed(observation, source)
        return torch.where(chance < share, random, policy(observation))

    return act


def returns_of(
    real: RealEnvs, policy: Act, seed: int, noise: torch.Generator | None = None
) -> tuple[Tensor, float]:
    """Real returns `[E]` of a policy, and the mean length of an episode.

    Of short episodes there are more, so that about as many steps tell. Actions are greedy, or
    sampled with `noise`.
    """
    before = real.steps
    rounds: list[Tensor] = []
    length, wanted = 1.0, 1
    while len(rounds) < wanted:
        rounds.append(real.evaluate(policy, derive(seed, len(rounds)) % 2**31, noise)[0])
        length = (real.steps - before) / (len(rounds) * real.shape[1])
        wanted = episodes_of(length) if len(rounds) == 1 else wanted
    return torch.cat(rounds), length


def untrained_like(
    env: SyntheticEnv, phases: Sequence[Phase], states: Tensor, budget: int
) -> SyntheticEnv:
    """One environment of the same rewards (and dynamics) with another presentation."""
    other = env.like(1, phases=phases, states=states, budget=budget)
    kept = ("reward_parameters", "dynamics_parameters")
    own = {name: value for name, value in env.state_dict().items() if name in kept}
    other.load_state_dict(own, strict=False)
    return other
