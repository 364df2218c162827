"""The README.md that goes with a saved environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """\
# Synthetic {target}

A synthetic environment learned with gtn_rl: agents train in it for a few thousand steps and then
play the real `{target}`.

```python
import gtn_rl
from stable_baselines3 import PPO

env = gtn_rl.make_sb3_env("{name}")
agent = PPO("MlpPolicy", env).learn({steps})
```

Episodes last {most}{horizon} step{plural}; {parameters}.{clock}

## What training it cost

{training}

## What agents trained in it reach

{results}
"""


_CLOCK = """

What it shows depends on how far an agent's training has got, which is taken to last {budget:,}
steps. If yours is longer or shorter say so, `gym.make(..., budget=5_000)`, and so in
`make_sb3_env`."""

_PAIRS_TEMPLATE = """\
# Distilled {target}

{pairs} synthetic (state, action) pairs learned with gtn_rl. A fresh policy that takes {steps}
full-batch gradient step{plural} on them plays the real `{target}`.

```python
import gtn_rl

pairs = gtn_rl.load_pairs("{name}")
policy = pairs.clone(hidden=(64, 64), seed=0)  # a torch.nn.Sequential on raw observations
```

`pairs.states` and `pairs.actions` are there for a training of your own; {actions}.

## What learning them cost

{training}

## What policies cloned from them reach

{results}
"""


_REWARD_TEMPLATE = """# A learned reward for {target}

Real dynamics with a learned reward, {how}; form `{form}`. Agents that are trained with it do well
sooner in {target}.

```python
import gymnasium as gym
import gtn_rl

env = gtn_rl.LearnedReward(gym.make("{target}"), "{name}")
```

## What it cost

{training}

## What it teaches

{results}
"""


def render_card(config: Mapping[str, Any]) -> str:
    """The card's text for what `config.json` holds."""
    if config.get("kind") == "pairs":
        return render_pairs_card(config)
    if config.get("kind") == "reward":
        return render_reward_card(config)
    target = config["target"] or "environment"
    n, actions = len(config["observation_space"]["low"]), _actions(config["action_space"])
    budget = config["budget"] if len(config["phases"]) > 1 else 0
    return _TEMPLATE.format(
        target=target,
        name=config["name"],
        most="" if config["horizon"] == 1 else "at most ",
        horizon=config["horizon"],
        plural="" if config["horizon"] == 1 else "s",
        parameters=f"observations have {n} numbers, {actions}",
        steps=f"{budget or 2_048:_}",
        clock=_CLOCK.format(budget=budget) if budget else "",
        training=_training(config["training"]),
        results=_results(config["results"]),
    )


def render_pairs_card(config: Mapping[str, Any]) -> str:
    """The card's text for the `config.json` of distilled pairs."""
    return _PAIRS_TEMPLATE.format(
        target=config["target"] or "behaviour",
        name=config["name"],
        pairs=config["pairs"],
        steps=config["steps"],
        plural="" if config["steps"] == 1 else "s",
        actions=_actions(config["action_space"]),
        training=_training(config["training"]),
        results=_results(config["results"]),
    )


def render_reward_card(config: Mapping[str, Any]) -> str:
    """The card's text for the `config.json` of a reward network."""
    how = "added to the real one" if config["additive"] else "in the place of the real one"
    return _REWARD_TEMPLATE.format(
        target=config["target"] or "an environment",
        name=config["name"],
        form=config["form"],
        how=how,
        training=_training(config["training"]),
        results=_results(config["results"]),
    )


def _training(training: Mapping[str, Any]) -> str:
    rows = [
        f"| {key.replace('_', ' ')} | {_format(value)} |"
        for key, value in training.items()
        if value != "" and not isinstance(value, Mapping)
    ]
    return _table(["quantity", "value"], rows) if rows else "Not recorded."


def _actions(space: Mapping[str, Any]) -> str:
    if "n" in space:
        return f"there are {space['n']} actions"
    return f"actions are vectors of length {len(space['low'])}"


def _table(head: list[str], rows: list[str]) -> str:
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *rows])


def _format(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"`{value}`" if isinstance(value, str) and " " in value else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _results(results: Mapping[str, Any]) -> str:
    lines = []
    if results.get("returns"):
        rows = [f"| {name} | {value:.2f} |" for name, value in results["returns"].items()]
        lines += [
            "Real returns in the run that made it, of random agents, of the policy that it "
            "teaches, and of fresh stock-like agents that chose nothing:",
            _table(["who", "return"], rows),
        ]
    if "compare" in results:
        rows = [
            f"| {row['algorithm']} | {row['steps']:,} | {row.get('seeds', results.get('seeds'))} | "
            f"{row['iqm']:.1f} | "
            f"[{row['low']:.1f}, {row['high']:.1f}] | {row['mean']:.1f} | {row['min']:.1f} |"
            for row in results["compare"]
        ]
        head = ["stock agent", "synthetic steps", "seeds", "IQM", "95 % interval", "mean", "min"]
        lines += [
            f"Stock Stable-Baselines3 agents, final, greedy, {results['episodes']} real episodes "
            f"each (`{results['command']}`):",
            _table(head, rows),
        ]
    return "\n\n".join(lines) if lines else "Not measured yet."
