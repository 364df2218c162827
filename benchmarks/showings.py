"""How a continuous lesson is best shown: many stock-like agents in many showings of one artifact.

Stable-Baselines3's SAC, TD3 and DDPG, step for step, for episodes of one step (where their targets
are the rewards), all agents in one batch. An agent takes a minute on a CPU core, 448 of them 45
seconds on an H200, where a training step is one CUDA graph. With `--on-policy 24` also stock-like
PPO and A2C agents, on the CPU. Showings are the artifact's own, those given, and random ones:
factors of scale, width and excess (a second number is for the introduction), the introduction's
share, and factors of how far apart its states and the others lie. Usage:

    python benchmarks/showings.py gtn_rl/Pendulum-v1 --random 100 --agents 8
    python benchmarks/showings.py gtn_rl/Pendulum-v1 --given '{"scale": [2, 1], "share": 0.5}'
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from torch import Tensor

from gtn_rl import from_pretrained
from gtn_rl.agents.networks import MLP, uniform
from gtn_rl.agents.stock import train_stock_agents
from gtn_rl.envs.actions import make_actions
from gtn_rl.envs.introduction import stretched
from gtn_rl.envs.spaces import halves
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.envs.targets import RealEnvs, describe
from gtn_rl.errors import UsageError
from gtn_rl.files import write_text
from gtn_rl.seeding import derive, generator
from gtn_rl.stats import interquartile_mean

OFF_POLICY = ("sac", "td3", "ddpg")
STARTS, BATCH = 100, 256
EPISODES = [int(derive(agent, 7) >> 32) + e for agent in range(20) for e in range(10)]
"""Those on which the zoo scores its 20 agents, the first ten of each."""

# Bounds of random showings: what SAC, TD3 and DDPG learn best within is known from wider ones.
BOUNDS = {
    "scale": ((1.0, 4.5), (0.35, 1.6)), "width": ((0.65, 2.5), (0.35, 1.4)),
    "excess": ((0.5, 1.1), (1.0, 1.0)), "share": ((0.36, 0.56),), "early": ((0.75, 1.4),),
    "late": ((0.85, 1.2),),
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Stock-like agents in showings of an artifact with a continuous lesson."""

    name: tyro.conf.Positional[str]
    """A shipped environment or a folder; with an introduction, and head welsch."""
    given: tuple[str, ...] = ()
    """Showings, each as JSON: scale, width, excess (lists), share, early, late (numbers)."""
    random: int = 0
    """How many showings are drawn besides."""
    agents: int = 8
    """Of each algorithm and showing."""
    on_policy: int = 0
    """Stock-like PPO and A2C agents for each of two draws."""
    steps: int = 5_000
    """Of SAC, TD3 and DDPG; PPO and A2C take twice as many."""
    together: int = 448
    """Agents in one batch, at most."""
    seed: int = 0
    """Of agents and random showings."""
    out: Path = Path(__file__).parent / "results" / "showings.json"
    """File for all scores."""


def main(arguments: Arguments) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    env = from_pretrained(arguments.name).requires_grad_(False)
    if not env.introduction or env.head != "welsch":
        raise UsageError(f"{arguments.name} has no introduction, or a head that is not welsch")
    showings: list[dict[str, Any]] = [{}, *map(json.loads, arguments.given)]
    rng = np.random.default_rng(arguments.seed)
    for _ in range(arguments.random):
        drawn = {
            name: [float(np.exp(rng.uniform(*np.log(b)))) for b in bounds]
            for name, bounds in BOUNDS.items()
        }
        showings.append({k: v if len(v) > 1 else v[0] for k, v in drawn.items()})
    rows: list[dict[str, Any]] = []
    size = max(arguments.together // arguments.agents, 1)
    for first in range(0, len(showings), size):
        part = showings[first : first + size]
        envs = [shown(env, showing) for showing in part]
        scores = {name: off_policy(envs, name, arguments, device) for name in OFF_POLICY}
        for index, showing in enumerate(part):
            row = {"showing": showing} | {k: v[index].tolist() for k, v in scores.items()}
            if arguments.on_policy:
                row |= on_policy(envs[index], arguments)
            rows.append(row)
            told = {
                name: f"{interquartile_mean(value):.1f} ({np.min(value):.0f})"
                for name, value in row.items() if name != "showing"
            }  # fmt: skip
            print(showing, told, flush=True)
        write_text(arguments.out, json.dumps(rows) + "\n")


def shown(env: SyntheticEnv, showing: dict[str, Any]) -> SyntheticEnv:
    """The same lesson, shown otherwise."""
    env = copy.deepcopy(env)
    for name in ("scale", "width", "excess"):
        factors = torch.tensor(showing.get(name, [1.0, 1.0]))
        getattr(env, f"{name}_parameters").add_(factors.log())
    env.introduction_parameters[:] = stretched(
        env.introduction_parameters, env.noise_size, showing.get("early", 1.0),
        showing.get("share", 0.0),
    )  # fmt: skip
    env.spread_parameters.add_(math.log(showing.get("late", 1.0)))
    return env


def off_policy(
    envs: list[SyntheticEnv], name: str, arguments: Arguments, device: torch.device
) -> np.ndarray[Any, Any]:
    """Mean real return `[showings, agents]` of the final agents."""
    start, count, steps = time.perf_counter(), arguments.agents, arguments.steps
    # What is drawn within a CUDA graph comes of the default generator.
    torch.manual_seed(arguments.seed)
    # The same agents in all showings.
    noise = torch.randn(1, count * steps, envs[0].noise_size, generator=generator(arguments.seed))
    progress = torch.linspace(0, 1, steps).repeat(count)
    seen, lessons = [], []
    for env in envs:
        observation = env.initial(noise, progress)
        seen.append(observation.view(count, steps, -1))
        lessons.append(env.lesson(observation, progress).view(count, steps, -1))
    source = torch.Generator(device).manual_seed(arguments.seed)
    policy = learn(name, torch.cat(seen).to(device), torch.cat(lessons).to(device), envs[0], source)
    task = describe(envs[0].target)
    actions = make_actions(task.action_space, 0.1)
    assert isinstance(task.action_space, spaces.Box)
    middle, half = halves(task.action_space, torch.float32)
    with RealEnvs(task, actions, len(envs) * count, len(EPISODES)) as real:
        returns = real.evaluate(lambda o: middle + half * policy(o.to(device)).cpu(), EPISODES)
    print(f"{len(envs) * count} {name} agents in {time.perf_counter() - start:.0f} s", flush=True)
    return returns.mean(1).view(len(envs), count).numpy()


class Network:
    """A stack of networks that learns in place, as a CUDA graph must."""

    def __init__(self, shape: MLP, count: int, source: torch.Generator, rate: float) -> None:
        seed = torch.randint(2**31, (1,), generator=source, device=source.device)
        fresh = torch.Generator().manual_seed(int(seed))
        self.shape, self.rate = shape, rate
        self.rows = uniform(shape, count, generator=fresh).to(source.device)
        self.mean, self.square = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        self.updates = torch.zeros(1, dtype=torch.float64, device=source.device)

    def __call__(self, *inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Outputs `[R, N, ...]`, of its own rows if none are given."""
        return self.shape(self.rows if rows is None else rows, torch.cat(inputs, -1))

    def descend(self, loss: Callable[[Tensor], Tensor]) -> None:
        """One step of Adam."""
        rows = self.rows.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(rows), rows)
        self.updates.add_(1)
        self.mean.lerp_(gradient, 0.1)
        self.square.lerp_(gradient.square(), 0.001)
        first, second = (
            (1 - torch.full_like(self.updates, beta).pow(self.updates)).float()
            for beta in (0.9, 0.999)
        )
        self.rows.sub_(self.rate * self.mean / first / ((self.square / second).sqrt() + 1e-8))


def learn(
    name: str, seen: Tensor, lesson: Tensor, env: SyntheticEnv, source: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """The final agents' greedy actions `[R, N, A]` in half ranges, at `[R, N, O]`.

    Args:
        name: Algorithm.
        seen: Observations of all episodes, `[R, T, O]`.
        lesson: What their rewards follow from, `[R, T, L]`.
        env: Says what rewards are.
        source: Of all randomness.
    """
    soft, delay = name == "sac", 2 if name == "td3" else 1
    agents, steps, size = seen.shape
    width = lesson.shape[-1] // 3
    hidden, rate = ((256, 256), 3e-4) if soft else ((400, 300), 1e-3)
    actor = Network(MLP((size, *hidden, width * (1 + soft)), "relu"), agents, source, rate)
    critics = [
        Network(MLP((size + width, *hidden, 1), "relu"), agents, source, rate)
        for _ in range(1 if name == "ddpg" else 2)
    ]
    temperature = Network(MLP((1, 1), "relu"), agents, source, rate)
    temperature.rows.zero_()
    device = seen.device
    action = 2 * torch.rand(agents, steps, width, generator=source, device=device) - 1
    reward = env.reward(lesson, action)
    # Each step's batch, of what is remembered by then; the same for all agents.
    reach = torch.arange(1, steps + 1, device=device).unsqueeze(1)
    index = torch.rand(steps, BATCH, generator=source, device=device).mul(reach).long()
    now = torch.full((1,), STARTS, device=device)

    def act(output: Tensor) -> tuple[Tensor, Tensor]:
        if not soft:
            return torch.tanh(output), output.new_zeros(output.shape[:-1])
        mean, log_std = output.chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        taken = torch.tanh(mean + log_std.exp() * noise)
        density = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
        return taken, (density - (1 - taken.square() + 1e-6).log()).sum(-1)

    def step(move_actor: bool) -> None:
        with torch.no_grad():
            taken = act(actor(seen.index_select(1, now)))[0]
            action.index_copy_(1, now, taken)
            reward.index_copy_(1, now, env.reward(lesson.index_select(1, now), taken))
            chosen = index.index_select(0, now)[0]
            observation, done = seen.index_select(1, chosen), action.index_select(1, chosen)
            target, weight = reward.index_select(1, chosen), temperature.rows[:, 1:].exp()
        for critic in critics:
            half = 0.5 if soft else 1.0

            def error(rows: Tensor, critic: Network = critic, half: float = half) -> Tensor:
                value = critic(observation, done, rows=rows)[..., 0]
                return half * (value - target).square().mean(1).sum()

            critic.descend(error)
        if move_actor:

            def loss(rows: Tensor) -> Tensor:
                would, density = act(actor(observation, rows=rows))
                used = critics if soft else critics[:1]
                values = [critic(observation, would)[..., 0] for critic in used]
                if soft:
                    lack = density.detach().mean(1) - width
                    temperature.descend(lambda own: -(own[:, 1] * lack).sum())
                return (weight * density - torch.stack(values).amin(0)).mean(1).sum()

            actor.descend(loss)
        now.add_(1)

    def block() -> None:
        for part in range(delay):
            step(part == delay - 1)

    blocks = (steps - STARTS) // delay
    if device.type == "cpu":
        for _ in range(blocks):
            block()
    else:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                block()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            block()
        for _ in range(blocks - 3):
            graph.replay()
    return lambda o: torch.tanh(actor(o)[..., :width])


def on_policy(env: SyntheticEnv, arguments: Arguments) -> dict[str, list[float]]:
    """Mean real return of stock-like PPO and A2C agents, of two draws."""
    task = describe(env.target)
    actions = make_actions(task.action_space, 0.1)
    scores: dict[str, list[float]] = {"ppo": [], "a2c": []}
    for name, own in scores.items():
        for draw in (0, 1):
            agents = train_stock_agents(
                env, f"stock-{name}", (64, 64), "tanh", arguments.on_policy, 2 * arguments.steps,
                generator(arguments.seed, draw),
            )  # fmt: skip
            with RealEnvs(task, actions, arguments.on_policy, len(EPISODES)) as real:
                own += real.evaluate(agents.outputs, EPISODES).mean(1).tolist()
    return scores


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
