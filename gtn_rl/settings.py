"""Settings for known targets; whatever is not named here has the default.

A target needs an entry only where the defaults were measured to be worse.
"""

from __future__ import annotations

from typing import Any

from gtn_rl.config import TrainConfig

SETTINGS: dict[str, dict[str, Any]] = {}


def settings_for(target: str) -> TrainConfig:
    """The settings with which a target is trained if nothing else is asked for."""
    return TrainConfig(**SETTINGS.get(target, {}))
