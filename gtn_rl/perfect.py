"""The limit of the inner loop: a learner that has learned its lesson perfectly.

Such a learner takes the best action of the reward, and what it does is a function of the
environment's parameters without any training between. So the environment can be driven by the
policy gradient of that function, at the cost of a forward pass instead of an unrolled training:
where a task takes thousands of updates, the first thousand are spent here. What this leaves out,
that a real learner gets there from anywhere in a few thousand steps, is the meta-gradient's part.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from gymnasium import spaces
from torch import Tensor

from gtn_rl.agents.draw import PERFECT
from gtn_rl.config import TrainConfig
from gtn_rl.critic import Critic
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.heads import best_action
from gtn_rl.envs.spaces import halves
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import Act, RealEnvs, Target
from gtn_rl.errors import UsageError
from gtn_rl.gradients import with_rows
from gtn_rl.objective import collect, surrogate
from gtn_rl.seeding import derive, generator

_TEMPERATURE = 0.2
"""Of the softmax over rewards by which a perfect learner explores."""

_JUDGED, _LENGTH, _EPOCHS = 64, 128, 10

Cost = Callable[[Tensor, Tensor], Tensor]


def perfect_learner(env: SyntheticEnv, observation: Tensor) -> Tensor:
    """Logits or means `[P, N, A]` with which perfect learners of P members act at `[P, N, O]`.

    Raises:
        UsageError: The reward's form has no known best action (head `mlp`).
    """
    lesson = env.lesson(observation)
    if isinstance(env.action_space, spaces.Discrete):
        return lesson / env.showing().scale / _TEMPERATURE
    if env.head == "mlp":
        raise UsageError(f"head {env.head} has no known best action: use another, or warmup 0")
    middle, half = halves(env.action_space, lesson.dtype)
    return middle + half * best_action(lesson, len(half))


def wanted_actions(env: SyntheticEnv, observation: Tensor) -> Tensor:
    """What perfect learners take at `[P, N, O]`: probabilities, or vectors within the bounds.

    Both are `[P, N, A]`. During an introduction the same actions are best as after it.
    """
    outputs = perfect_learner(env, observation)
    if isinstance(env.action_space, spaces.Discrete):
        return torch.softmax(outputs, -1)
    low, high = (torch.as_tensor(x) for x in (env.action_space.low, env.action_space.high))
    return torch.clamp(outputs, low, high)


def middle_and_half(env: SyntheticEnv) -> tuple[Tensor, Tensor]:
    """Middle and half range `[A]` of an environment's continuous actions."""
    assert isinstance(env.action_space, spaces.Box)
    return halves(env.action_space, env.mean.dtype)


def plain(env: SyntheticEnv) -> tuple[SyntheticEnv, Tensor]:
    """The same environment without any excess, and the parameters `[1, D]` of its best actions."""
    copied = copy.deepcopy(env).requires_grad_(False)
    if copied.head == "welsch":
        torch.nn.init.zeros_(copied.excess_parameters)
    return copied, copied.reward_parameters.requires_grad_(True)


@dataclass(frozen=True)
class Perfect:
    """Perfect learners among others: what agents learn that train for longer than any of those.

    Args:
        env: P environments.
        count: Learners of each, all alike: their weight among the others.
        parameters: One row for each environment, `[P, D]`, or for each of its learners.
    """

    env: SyntheticEnv
    count: int
    parameters: Tensor

    @classmethod
    def of(cls, env: SyntheticEnv, count: int) -> Self:
        """Those of environments, differentiable w.r.t. their parameters."""
        rows = torch.cat(list(env.parameters()), 1)
        return cls(env, count, rows.repeat_interleave(count, 0))

    @property
    def names(self) -> list[tuple[str, int]]:
        """Algorithm and number of rows."""
        return [(PERFECT, len(self.parameters))]

    def outputs(self, observations: Tensor) -> Tensor:
        """Logits or means `[K, N, A]` at observations `[K, N, O]`."""
        return perfect_learner(with_rows(self.env, self.parameters), observations)

    def with_parameters(self, parameters: Tensor) -> Self:
        """The same learners with other parameters."""
        return replace(self, parameters=parameters)


def robust_returns(
    envs: RealEnvs, task: Target, policy: Act, seed: int, source: torch.Generator
) -> Tensor:
    """Greedy returns `[K, N]`; of continuous actions the lower of greedy and noisy ones.

    What works to the last digit only cannot be taught, nor can what works by its noise.
    """
    returns = envs.evaluate(policy, seed)
    if isinstance(task.action_space, spaces.Box):
        returns = torch.minimum(returns, envs.evaluate(policy, seed, source))
    return returns


def warm_up(
    env: SyntheticEnv, task: Target, actions: Actions, critic: Critic, config: TrainConfig,
    stream: int, report: Callable[[float, float], None] = lambda *_: None,
) -> tuple[Tensor, int]:  # fmt: skip
    """Improve an environment by PPO on its perfect learner's real return.

    The environment is left as it was where that did not raise the greedy return.

    Args:
        env: One environment, changed in place.
        task: The target.
        actions: How learners act in it.
        critic: Values of the target, fitted on the way.
        config: Settings: `warmup` real steps.
        stream: Number of the random stream.
        report: Told the mean return and the share of the budget that is used, now and then.

    Returns:
        Observations `[M, O]` that agents between perfect and random met, and how many real steps
        were taken.
    """
    budget = min(config.warmup, config.max_real_steps)
    policy = partial(perfect_learner, env)
    before = {name: value.clone() for name, value in env.state_dict().items()}
    with (
        RealEnvs(task, actions, 1, _JUDGED) as real,
        RealEnvs(task, actions, 1, config.warmup_copies) as practice,
    ):

        def score() -> float:
            seed, source = derive(config.seed, stream, 0), generator(config.seed, stream, 0)
            return float(robust_returns(real, task, policy, seed, source).mean())

        def effort(outputs: Tensor, _: Tensor) -> Tensor:
            return config.effort * actions.effort(outputs).mean()

        start = score()
        ascend(
            policy, list(env.parameters()), practice, actions, critic, config, (stream,), budget,
            before=real.steps, cost=effort if config.effort else None, report=report,
        )  # fmt: skip
        if score() < start:
            env.load_state_dict(before)
        source = generator(config.seed, stream, 3)
        share = torch.linspace(0, 1, _JUDGED)

        def confused(observation: Tensor) -> Tensor:
            chance = torch.rand(observation.shape[:2], generator=source).unsqueeze(-1)
            random = actions.uninformed(observation, source)
            return torch.where(chance < share.view(1, -1, 1), random, policy(observation))

        real.reset(derive(config.seed, stream, 3))
        rollout = real.rollout(confused, min(task.horizon or 256, 256), source)
        return rollout.observation[rollout.valid], real.steps + practice.steps


def ascend(
    policy: Act, parameters: Sequence[Tensor], real: RealEnvs, actions: Actions,
    critic: Critic, config: TrainConfig, stream: tuple[int, ...], budget: int, *,
    before: int = 0, cost: Cost | None = None,
    report: Callable[[float, float], None] = lambda *_: None,
) -> None:  # fmt: skip
    """PPO (Schulman et al. 2017) on a policy, until the real environment's steps are used up.

    Args:
        policy: Logits or means `[1, N, A]` at `[1, N, O]`, a function of the parameters.
        parameters: What is improved, in place.
        real: Real environments for one learner; steps it has taken already count.
        actions: How it acts in them.
        critic: Values of the target, fitted on the way.
        config: Settings: step size, batch and so on of the `warmup`.
        stream: Name of the random stream.
        budget: Steps of `real`, and how many of them were used elsewhere `before`.
        before: See there.
        cost: What is paid for outputs `[1, N, A]` at `[1, N, O]`, where advantages have deviation
            1; nothing if not given.
        report: Told the mean return and the share of the budget that is used, now and then.
    """
    optimizer = torch.optim.Adam(parameters, config.warmup_learning_rate)
    shuffle = generator(config.seed, *stream, 1)
    real.reset(derive(config.seed, *stream, 1))
    for index in itertools.count(1):
        source = generator(config.seed, *stream, 2, index)
        experience = collect(policy, real, actions, critic, config, source, _LENGTH)
        rows = experience.weight[0].nonzero()[:, 0]
        used = (before + real.steps) / budget
        remaining = max(1 - used, 0.05)
        optimizer.param_groups[0]["lr"] = config.warmup_learning_rate * remaining
        for _ in range(_EPOCHS):
            order = rows[torch.randperm(len(rows), generator=shuffle)]
            for batch in torch.split(order, config.warmup_batch):
                part = type(experience)(*(column[:, batch] for column in experience))
                outputs = policy(part.observation)
                loss = -surrogate(_always(outputs), part, actions, config.clip)
                if cost is not None:
                    loss = loss + cost(outputs, part.observation)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
                optimizer.step()
        critic.fit(
            *experience.values(), source,
            epochs=config.critic_epochs, batch_size=config.warmup_batch,
        )  # fmt: skip
        if used >= 1:
            return
        finished = real.finished()
        if index % 5 == 0 and finished is not None:
            report(finished, used)
            real.forget()


def _always(outputs: Tensor) -> Act:
    return lambda _: outputs
