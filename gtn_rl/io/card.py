"""The README.md that goes with an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ENVIRONMENT = """\
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

_PAIRS = """\
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


_REWARD = """\
# A learned reward for {target}

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


_TEACHER = """\
# Teacher of {task}

Made with gtn_rl by {teacher}. It trains a classifier of {task} in {steps} steps of {batch} examples
each.

```python
from gtn_rl.supervised import load_teacher

teacher, config = load_teacher("{name}")
```

## What training it cost

{training}

## What classifiers trained by it reach

{results}
"""


def render_card(config: Mapping[str, Any]) -> str:
    """The card's text for what `config.json` holds."""
    template, words = {
        "environment": (_ENVIRONMENT, _of_environment),
        "pairs": (_PAIRS, _of_pairs),
        "reward": (_REWARD, _of_reward),
        "teacher": (_TEACHER, _of_teacher),
    }[config["kind"]]
    return template.format(
        name=config.get("name", ""),
        training=_training(config["training"]),
        results=_results(config["results"]),
        **words(config),
    )


def _of_environment(config: Mapping[str, Any]) -> dict[str, Any]:
    n, horizon = len(config["observation_space"]["low"]), config["horizon"]
    budget, timed = config["budget"], len(config["phases"]) > 1
    return {
        "target": config["target"] or "environment",
        "most": "" if horizon == 1 else "at most ",
        "horizon": horizon,
        "plural": "" if horizon == 1 else "s",
        "parameters": f"observations have {n} numbers, {_actions(config['action_space'])}",
        "steps": f"{budget or 2_048:_}",
        "clock": _CLOCK.format(budget=budget) if timed else "",
    }


def _of_pairs(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "target": config["target"] or "behaviour",
        "pairs": config["pairs"],
        "steps": config["steps"],
        "plural": "" if config["steps"] == 1 else "s",
        "actions": _actions(config["action_space"]),
    }


def _of_reward(config: Mapping[str, Any]) -> dict[str, Any]:
    how = "added to the real one" if config["additive"] else "in the place of the real one"
    return {"target": config["target"] or "an environment", "form": config["form"], "how": how}


def _of_teacher(config: Mapping[str, Any]) -> dict[str, Any]:
    own = config["config"]
    return {
        "task": config["data"]["name"],
        "teacher": own["teacher"],
        "steps": own["inner_steps"],
        "batch": own["batch_size"],
    }


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
    scores = results.get("returns", results)
    rows = [
        f"| {name} | {value:.2f} |"
        for name, value in scores.items()
        if isinstance(value, int | float)
    ]
    if rows and "returns" in results:
        lines.append(
            "Real returns in the run that made it, of random agents, of the policy that it "
            "teaches, and of fresh stock-like agents that chose nothing:"
        )
        lines.append(_table(["who", "return"], rows))
    elif rows and "compare" not in results:
        lines.append(_table(["accuracy on", "%"], rows))
    if "compare" in results:
        rows = [
            f"| {row['algorithm']} | {row['steps']:,} | {row.get('seeds', results.get('seeds'))} | "
            f"{row['iqm']:.1f} | "
            f"[{row['low']:.1f}, {row['high']:.1f}] | {row['mean']:.1f} | {row['min']:.1f} |"
            for row in results["compare"]
        ]
        head = ["stock agent", "synthetic steps", "seeds", "IQM", "95 % interval", "mean", "min"]
        lines += [
            f"Stock Stable-Baselines3 agents, final, greedy, {results.get('episodes')} real "
            f"episodes each (`{results.get('command')}`):",
            _table(head, rows),
        ]
    return "\n\n".join(lines) if lines else "Not measured yet."
