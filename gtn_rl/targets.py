"""What is asked of shipped targets besides the defaults: at most five entries each."""

from __future__ import annotations

from typing import Any

from gtn_rl.config import TrainConfig

TARGETS: dict[str, dict[str, Any]] = {
    # As many steps as README's agents take; more real steps than the default are for none.
    "Acrobot-v1": {"steps": 2_048},
    "CartPole-v1": {"steps": 2_048},
}


def config_for(target: str) -> TrainConfig:
    """The settings with which a target is trained if nothing else is asked for."""
    return TrainConfig(**TARGETS.get(target, {}))
