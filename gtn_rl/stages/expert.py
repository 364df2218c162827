"""The policy of a trained agent as what is taught: fitted by regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.config import TrainConfig
from gtn_rl.envs.actions import Actions
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, Target
from gtn_rl.errors import UsageError, one_line
from gtn_rl.inner.optimal import optimal_policy
from gtn_rl.seeding import derive, generator
from gtn_rl.spaces import as_space, first_action, halves
from gtn_rl.stages.base import ignore, mixed, moments, never, returns_of, unchanged, untrained
from gtn_rl.stages.show import gain_of, show
from gtn_rl.state import State, saving

_STREAM = 10
_COPIES, _LENGTH, _EPISODES = 16, 512, 16
"""Real environments and steps in each that show where the expert goes; episodes that judge it."""

_UPDATES, _BATCH, _RATE = 300, 512, 3e-3
"""Updates for each outer step of the fit."""

_STEPS = 6

Policy = Callable[[Tensor], Tensor]


class Example(NamedTuple):
    """Observations `[M, O]` and the expert's outputs there, `[M, A]`."""

    observation: Tensor
    output: Tensor


def load_expert(text: str, task: Target) -> Policy:
    """The policy `[M, O]` to `[M, A]` of `algorithm:file`: scores, or actions in half ranges.

    Raises:
        UsageError: Not of that form, no such file, or an agent for other spaces.
        MissingExtraError: An agent of sb3-contrib, which is not installed.
    """
    from gtn_rl.agents.sb3 import algorithm

    name, colon, file = text.partition(":")
    if not colon or not file:
        raise UsageError(f"expert {text!r} is not of the form ppo:agent.zip")
    kind = algorithm(name)
    if not Path(file).is_file():
        raise UsageError(f"no file {file}: give the agent's as {name}:agent.zip")
    try:
        agent = kind.load(file, device="cpu")
    except Exception as error:
        why = one_line(error)[:500] or type(error).__name__
        raise UsageError(f"{file} is no agent of {name}: {why}") from error
    if agent.observation_space.shape != task.observation_space.shape or (
        type(agent.action_space) is not type(task.action_space)
    ):
        raise UsageError(
            f"{file} acts in {agent.observation_space} and {agent.action_space}, not in those of "
            f"{task.id}: give an agent that was trained on it"
        )
    policy: Any = agent.policy

    @torch.no_grad()
    def act(observation: Tensor) -> Tensor:
        array = observation.numpy().astype(task.observation_space.dtype)
        if isinstance(task.action_space, spaces.Box):
            actions = torch.as_tensor(agent.predict(array, deterministic=True)[0]).float()
            middle, half = halves(task.action_space)
            return (actions - middle) / half
        known, _ = policy.obs_to_tensor(array)
        if hasattr(policy, "q_net"):
            values: Tensor = policy.q_net(known)
            return values
        if hasattr(policy, "get_distribution"):
            logits: Tensor = policy.get_distribution(known).distribution.logits
            return logits
        chosen = torch.as_tensor(agent.predict(array, deterministic=True)[0])
        own = chosen - first_action(agent.action_space)
        return F.one_hot(own.long(), int(task.action_space.n)).float()

    return act


class Regression:
    """Least squares, or cross-entropy of what is best, of a teacher's optimal policy."""

    state_dict, load_state_dict = saving("teacher", "_optimizer")

    def __init__(self, env: SyntheticEnv, seed: int) -> None:
        self.teacher, self._seed = env, seed
        self._optimizer = torch.optim.Adam([env.reward_parameters], _RATE)

    def ask(self, step: int) -> SyntheticEnv:
        return self.teacher

    def tell(self, trained: Any, score: Example, step: int) -> dict[str, Any]:
        """Many updates on the examples."""
        source = generator(self._seed, _STREAM, 3, step)
        discrete = isinstance(self.teacher.action_space, spaces.Discrete)
        wanted = score.output
        if discrete:
            centred = wanted - wanted.mean(-1, keepdim=True)
            wanted = centred / centred.std().clamp_min(1e-6)
        self._optimizer.param_groups[0]["lr"] = _RATE * max(1 - step / _STEPS, 0.1)
        error = torch.zeros(())
        for _ in range(_UPDATES):
            index = torch.randint(len(wanted), (_BATCH,), generator=source)
            made = self.teacher.output(score.observation[index].unsqueeze(0))[0]
            if discrete:
                made = made - made.mean(-1, keepdim=True)
                best = F.cross_entropy(5 * made, wanted[index].argmax(-1))
                loss = (made - wanted[index]).square().mean() + best
            else:
                loss = (made - wanted[index].clamp(-1.2, 1.2)).square().mean()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            error = loss.detach()
        return {"surrogate": -float(error)}


@dataclass
class ImitateExpert:
    """The environment's optimal policy becomes a given one, where that goes and around."""

    task: Target
    actions: Actions
    config: TrainConfig
    expert: Policy
    name, scored, every, competes = "imitating the expert", "its policy", 1, True
    steady = True
    reset, train, converged = ignore, unchanged, never
    state_dict, load_state_dict = saving("_met", "_returns", "_length", "_gain")

    def begin(self, state: State) -> None:
        self.estimator = Regression(untrained(self.task, self.config), self.config.seed)
        self._met = torch.zeros(0, self.task.observation_space.shape[0])
        self._real = RealEnvs(self.task, self.actions, 1, _COPIES)
        self._exam = RealEnvs(self.task, self.actions, 1, _EPISODES)
        self._length, self._gain = 0.0, 1.0
        self._returns = {"random": 0.0, "expert": 0.0, "optimal": 0.0}

    def objective(self, trained: SyntheticEnv, step: int) -> Example:
        """The expert's outputs where it goes, more or less at random, and around."""
        if not len(self._met):
            self._go()
        env, source = trained, generator(self.config.seed, _STREAM, 2, step)
        mean, std = moments(self._met)
        wide = mean + 2 * std * torch.randn(len(self._met), len(mean), generator=source)
        near = self._met + 0.1 * std * torch.randn(self._met.shape, generator=source)
        if not env._whole:
            wide = torch.clamp(torch.cat([self._met, near, wide]), env.low, env.high)
        else:
            wide = self._met
        observation = as_space(self.task.observation_space, wide)
        return Example(observation, self.expert(observation))

    def _outputs(self, observation: Tensor) -> Tensor:
        """What the expert does at `[1, N, O]`, as the target's learners say it."""
        output = self.expert(observation[0]).unsqueeze(0)
        if isinstance(self.task.action_space, spaces.Discrete):
            return output
        middle, half = halves(self.task.action_space)
        return middle + half * output

    def _go(self) -> None:
        """Act in the target, from as the expert does to at random."""
        seed, source = self.config.seed, generator(self.config.seed, _STREAM, 0)
        self._real.reset(derive(seed, _STREAM, 0) % 2**31)
        rollout = self._real.rollout(
            mixed(self._outputs, self.actions, _COPIES, source), _LENGTH, source
        )
        self._met = rollout.observation[rollout.valid]
        mean, std = moments(self._met)
        self.estimator.teacher.mean.copy_(mean)
        self.estimator.teacher.std.copy_(std)
        exam = derive(seed, _STREAM, 1) % 2**31
        returns, self._length = returns_of(self._exam, self._outputs, exam)
        self._returns["expert"] = float(returns.mean())
        uninformed = partial(self.actions.uninformed, generator=source)
        discrete = isinstance(self.task.action_space, spaces.Discrete)
        random, _ = returns_of(self._exam, uninformed, exam, source if discrete else None)
        self._returns["random"] = float(random.mean())

    def evaluate(self, step: int, *, last: bool) -> dict[str, float]:
        """The optimal policy's greedy real return, at the end."""
        if not last or step == 0:
            return {}
        policy = partial(optimal_policy, self.estimator.teacher)
        seed = derive(self.config.seed, _STREAM, 4)
        returns, _ = returns_of(self._exam, policy, seed)
        self._returns["optimal"] = float(returns.mean())
        random = self._returns["random"]
        own = self._returns["optimal"]
        self._gain = gain_of(self.estimator.teacher, self._exam, random, own, seed)
        return {"evaluation": float(returns.mean()), "evaluation_min": float(returns.min())}

    def shares(self, step: int) -> Mapping[str, float]:
        return {"imitation": step / _STEPS}

    def end(self, state: State) -> None:
        """Hand on the environment, presented to agents."""
        state.returns |= self._returns
        state.visited, state.length = self._met, self._length
        if len(self._met):
            assert isinstance(state.teacher, SyntheticEnv)
            state.teacher = show(state.teacher, self._met, self.config, self._gain)

    def close(self) -> None:
        self._real.close()
        self._exam.close()
