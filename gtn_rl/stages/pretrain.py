"""Pretraining: the policy gradient of the policy that has learned the lesson perfectly."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions, Gaussian
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Act, RealEnvs, Target
from gtn_rl.errors import TrainingDivergedError
from gtn_rl.inner.fitness import episodes_of
from gtn_rl.inner.objective import Critic, Experience, collect, surrogate
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.outer.meta_gradient import Averaged
from gtn_rl.seeding import derive, generator
from gtn_rl.stages.base import goal_of, mixed, returns_of
from gtn_rl.stages.show import gain_of, show
from gtn_rl.state import State, saving

_STREAM = 6
_LENGTH, _EPOCHS, _BATCH = 128, 5, 256
"""Real steps of each copy in a batch of experience, passes over it, and steps of an update."""

_DEVIATION_RATE, _ENTROPY = 1e-3, 0.03
"""Adam's step size for the deviation of continuous actions, and what a logarithm of it is worth in
advantages' deviations. Where noise costs much, as in balancing, it shrinks: a policy that is made
to bear it pushes from bound to bound, which agents do not learn. Elsewhere it stays as it was at
first, and the policy is one that agents may learn roughly."""

_AVERAGING = 0.95
"""Decay of the average over updates: the policy's noise from batch to batch is left out."""

_SMOOTHING = 0.7
"""Decay of the average return by which progress is judged."""

_LEAST_GAIN = 0.02
"""What counts as better, as a share of what was gained over random agents so far."""

_EPISODES = 16
"""Real episodes by which the policy is judged before and after."""

_MET, _STEPS = 64, 256
"""Real episodes that show which states agents meet, and steps of each at most."""


class PolicyGradient:
    """PPO (Schulman et al. 2017, arXiv 1707.06347) on the parameters of a teacher.

    Args:
        env: One environment, changed in place.
        actions: How its optimal policy acts in the target; a deviation of theirs is trained too.
        critic: Values of the target, fitted on the way.
        config: Settings.
    """

    def __init__(
        self, env: SyntheticEnv, actions: Actions, critic: Critic, config: TrainConfig
    ) -> None:
        self._env, self._actions, self._critic, self._config = env, actions, critic, config
        self._parameters: list[Tensor] = [env.reward_parameters]
        self._optimizer = torch.optim.Adam(self._parameters)
        self._log_deviation = None
        if isinstance(actions, Gaussian):
            self._log_deviation = actions.log_deviation.requires_grad_()
            self._parameters.append(self._log_deviation)
            self._optimizer.add_param_group(
                {"params": [self._log_deviation], "lr": _DEVIATION_RATE}
            )
        self._averaged = Averaged(env, _AVERAGING)
        self.rate = 1.0

    @property
    def teacher(self) -> SyntheticEnv:
        """The average of the last updates."""
        averaged = self._averaged.teacher
        assert isinstance(averaged, SyntheticEnv)
        return averaged

    def ask(self, step: int) -> SyntheticEnv:
        """The environment itself."""
        return self._env

    def tell(self, trained: Act, score: Experience, step: int) -> dict[str, Any]:
        """Several passes of updates over a batch of experience.

        Raises:
            TrainingDivergedError: The parameters are not finite.
        """
        config, source = self._config, generator(self._config.seed, _STREAM, 3, step)
        rows = score.weight[0].nonzero()[:, 0]
        self._optimizer.param_groups[0]["lr"] = config.pretrain.learning_rate * self.rate
        for _ in range(_EPOCHS):
            for batch in torch.split(rows[torch.randperm(len(rows), generator=source)], _BATCH):
                part = Experience(*(column[:, batch] for column in score))
                loss = -surrogate(trained, part, self._actions, config.clip)
                if self._log_deviation is not None:
                    loss = loss - _ENTROPY * self._log_deviation.sum()
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
                self._optimizer.step()
                if self._log_deviation is not None:
                    self._log_deviation.data.clamp_(max=math.log(config.noise))
        if not self._env.reward_parameters.isfinite().all():
            raise TrainingDivergedError(
                "pretraining met numbers that are not finite: check the target's rewards and "
                "observations"
            )
        error = self._critic.fit(*score.values(), source, epochs=4, batch_size=_BATCH)
        self._averaged.module.update_parameters(self._env)
        return {"critic_error": error}

    def state_dict(self) -> dict[str, Any]:
        """The environment, its average, actions' deviation, the critic, and both optimizers."""
        return {
            "env": self._env.state_dict(),
            "average": self._averaged.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "log_deviation": None if self._log_deviation is None else self._log_deviation.detach(),
            "critic": self._critic.state_dict(),
            "critic_optimizer": self._critic.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set it to a saved state."""
        self._env.load_state_dict(state["env"])
        self._averaged.module.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._log_deviation is not None:
            self._log_deviation.data.copy_(state["log_deviation"])
        self._critic.load_state_dict(state["critic"])
        self._critic.optimizer.load_state_dict(state["critic_optimizer"])


@dataclass
class Pretrain:
    """The optimal policy's real return is raised until it stays, or its real steps are used.

    Args:
        task: The target.
        actions: How the policy acts in it at first.
        config: Settings of the run; those of the stage are in `pretrain`.
    """

    task: Target
    actions: Actions
    config: TrainConfig
    name: str = "pretraining the optimal policy"
    every: int = 20
    competes: bool = True
    scored: str = "the policy"
    steady: bool = False

    state_dict, load_state_dict = saving(
        "_used", "_best_at", "_smooth", "_best", "_score", "_length", "_robust", "_visited",
        "_gain", "_kept",
    )  # fmt: skip

    def begin(self, state: State) -> None:
        """Go on from the environment that was found."""
        env = state.teacher
        assert isinstance(env, SyntheticEnv)
        config = self.config
        state.critic = Critic(env.mean, env.std, generator=generator(config.seed, _STREAM, 0))
        # Other stages explore with the deviation of the settings.
        self._own = copy.deepcopy(self.actions)
        self.estimator = PolicyGradient(env, self._own, state.critic, config)
        self._real = RealEnvs(self.task, self._own, 1, config.pretrain.copies)
        self._exam = RealEnvs(self.task, self._own, 1, _EPISODES)
        self._random = state.returns.get("random", 0.0)
        self._used, self._length = 0, 0.0
        self._robust = -float("inf")
        self._smooth, self._best, self._best_at, self._score = 0.0, -float("inf"), 0, -float("inf")
        self._visited = torch.zeros(0, env.observation_size)
        self._gain, self._kept = 1.0, copy.deepcopy(env)

    def reserve(self, state: State) -> int:
        """Real steps of the last evaluation, if episodes are as long as they may be."""
        length = self.task.horizon or round(2 * self._length)
        # Greedy; where actions are continuous also sampled, and two factors of them at least.
        plays = 1 if isinstance(self.task.action_space, spaces.Discrete) else 4
        return plays * _EPISODES * episodes_of(length) * length + _MET * min(length, _STEPS)

    def reset(self, step: int) -> None:
        """Start new episodes."""
        self._real.reset(derive(self.config.seed, _STREAM, 1, step) % 2**31)

    def train(self, teachers: SyntheticEnv, step: int) -> Act:
        """The policy that has learned all that the environment teaches."""
        return partial(optimal_policy, teachers)

    def objective(self, trained: Act, step: int) -> Experience:
        """Real experience of the policy, with its advantages."""
        config, before = self.config, self._real.steps
        self.estimator.rate = max(1 - self._share(), 0.1)
        source = generator(config.seed, _STREAM, 2, step)
        critic = self.estimator._critic
        experience = collect(trained, self._real, self._own, critic, config, source, _LENGTH)
        self._used += self._real.steps - before
        finished = self._real.finished()
        self._real.forget()
        self._return = finished
        if finished is not None:
            first = self._best == -float("inf")
            self._smooth = (
                finished if first else (_SMOOTHING * self._smooth + (1 - _SMOOTHING) * finished)
            )
            gain = _LEAST_GAIN * abs(self._best - self._random)
            if first or self._smooth > self._best + gain:
                self._best, self._best_at = self._smooth, self._used
        return experience

    def _meet(self) -> None:
        """States that agents meet in the target, from those that act at random to the optimal one.

        Where the optimal policy goes is little of what its learners see on their way there.
        """
        source = generator(self.config.seed, _STREAM, 5)
        policy = mixed(partial(optimal_policy, self._kept), self._own, _MET, source)
        with RealEnvs(self.task, self._own, 1, _MET) as real:
            real.reset(derive(self.config.seed, _STREAM, 5) % 2**31)
            rollout = real.rollout(policy, min(self.task.horizon or _STEPS, _STEPS), source)
            self._visited = rollout.observation[rollout.valid]

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """Greedy real return, before the first step and after the last one."""
        row: dict[str, float] = {}
        if step and self._return is not None:
            row["return"] = self._return
        if step == 0 or last or self.converged(step):
            seed = derive(self.config.seed, _STREAM, 4)
            policy = partial(optimal_policy, self.estimator.teacher)
            returns, self._length = returns_of(self._exam, policy, seed)
            greedy = float(returns.mean())
            if isinstance(self.task.action_space, spaces.Box):
                # What works to the last digit only cannot be taught.
                noisy, _ = returns_of(self._exam, policy, seed, generator(seed, 0))
                returns = torch.minimum(returns[: len(noisy)], noisy[: len(returns)])
            row |= {"evaluation": float(returns.mean()), "evaluation_min": float(returns.min())}
            if row["evaluation"] >= self._robust:
                self._robust, self._score = row["evaluation"], greedy
                self._kept = copy.deepcopy(self.estimator.teacher)
            goal = goal_of(self.task, self.config)
            if goal is not None and self._robust < goal:
                # The return of training promised more than the policy has.
                self._best_at = self._used
            if step:
                self._meet()
                self._gain = gain_of(self._kept, self._exam, self._random, self._score, seed)
        return row

    def _share(self) -> float:
        return self._used / max(self.config.pretrain.real_steps, 1)

    def shares(self, step: int) -> Mapping[str, float]:
        """Of its real steps."""
        return {"pretraining steps": self._share()}

    def converged(self, step: int) -> bool:
        """Whether the return has not risen for long; looked at where checkpoints are written.

        Where it is known what solves the task, and that is not reached, it goes on.
        """
        goal = goal_of(self.task, self.config)
        if step == 0 or step % self.every or (goal is not None and self._best < goal):
            return False
        wait = max(self.config.pretrain.patience, self._used / 3)
        return self._used - self._best_at >= wait

    def end(self, state: State) -> None:
        """Hand on the better of both policies, presented to agents, and the states met."""
        assert isinstance(state.teacher, SyntheticEnv)
        state.returns["optimal"] = self._score
        state.length = self._length
        state.visited = self._visited
        if len(self._visited):
            state.teacher = show(state.teacher, state.visited, self.config, self._gain)

    def close(self) -> None:
        """Free the environments."""
        self._real.close()
        self._exam.close()
