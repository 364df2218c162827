"""Which settings of a training run can work together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from gtn_rl.agents.draw import parse_group
from gtn_rl.errors import UsageError, did_you_mean
from gtn_rl.outer.strategies import STRATEGIES

if TYPE_CHECKING:
    from gtn_rl.config import TrainConfig

ESTIMATORS = ("meta-gradient", "evolution")
EXECUTORS = ("batch", "processes", "ray")
PARTS = (
    "initial", "reward", "dynamics", "scale", "width", "excess", "shift", "spread", "introduction",
)  # fmt: skip

_draft: ContextVar[bool] = ContextVar("draft", default=False)


@contextmanager
def drafted() -> Iterator[None]:
    """Settings that are made in here are not checked.

    For who needs a few of them to find the others: what is asked for on the command line may fit
    the settings of its target and not the defaults.
    """
    token = _draft.set(True)
    try:
        yield
    finally:
        _draft.reset(token)


def check(config: TrainConfig) -> None:
    """Reject values that cannot work.

    Raises:
        UsageError: The first such value.
    """
    if _draft.get():
        return
    positive = (
        "max_real_steps", "max_minutes", "evaluate_every", "inner_steps",
        "batch_size", "copies", "exam_copies", "rollout_steps", "outer_epochs",
        "outer_learning_rate", "max_gradient_norm", "clip", "critic_learning_rate",
        "critic_epochs", "starts", "outer_noise", "showing_rate", "warmup_learning_rate",
        "warmup_copies", "warmup_batch", "imitation_learning_rate",
        "stock_steps", "deviation", "workers", "task_timeout", "horizon", "fits", "experts",
        "heard_spread", "practice",
    )  # fmt: skip
    for name in positive:
        if not getattr(config, name) > 0:
            raise UsageError(f"{name} must be positive, got {getattr(config, name)}")
    for name in ("discount", "trace", "averaging"):
        if not 0 <= getattr(config, name) < 1 + (name == "trace") * 1e-9:
            raise UsageError(f"{name} must be in [0, 1), got {getattr(config, name)}")
    for name in ("learning_rate", "entropy"):
        low, high = getattr(config, name)
        if not 0 < low <= high:
            raise UsageError(f"{name} must be 0 < low <= high, got {low} {high}")
    if min(config.warmup, config.imitation) < 0:
        raise UsageError("warmup and imitation must not be negative")
    if config.imitation and not config.warmup:
        raise UsageError("imitation needs an expert: set warmup above 0, or imitation to 0")
    if config.start_rounds < 2:
        raise UsageError(f"start_rounds must be at least 2, got {config.start_rounds}")
    for name, known in (
        ("estimator", ESTIMATORS), ("strategy", STRATEGIES), ("executor", EXECUTORS),
    ):  # fmt: skip
        value = getattr(config, name)
        if value not in known:
            raise UsageError(
                f"unknown {name} {value!r}: use {' or '.join(known)}.{did_you_mean(value, known)}"
            )
    for name in (
        "world_model", "persistence", "truncation", "checkpointing",
        "max_outer_steps", "patience", "effort", "wide", "budget", "listen",
        "score_gap", "rare", "centred", "fade",
    ):  # fmt: skip
        if getattr(config, name) < 0:
            raise UsageError(f"{name} must not be negative, got {getattr(config, name)}")
    if config.wide > 1:
        raise UsageError(f"wide is a share, at most 1, got {config.wide}")
    if config.wide and not (config.warmup and config.coverage):
        raise UsageError("wide needs states that agents meet: set warmup above 0, and coverage")
    if config.fits > 1 and not (config.warmup and config.coverage) and not config.init:
        raise UsageError("fits needs states that agents meet: set warmup above 0, and coverage")
    if config.experts > 1 and not config.warmup and not config.init:
        raise UsageError("experts are what the warm-up makes: set warmup above 0")
    if config.listen and not config.warmup and not config.init:
        raise UsageError("listen needs a warm-up's lesson: set warmup above 0")
    if config.listen and (config.horizon > 1 or (config.stock and not config.judged)):
        raise UsageError(
            "listen is for a horizon of 1 and this library's own learners (or judged): set it to 0"
        )
    if config.practised and not config.warmup and not config.init:
        raise UsageError("practised needs a warm-up's lesson: set warmup above 0")
    if config.practised and config.horizon > 1:
        raise UsageError("practised is for a horizon of 1: leave it out")
    if any(count < 1 for count in config.practised):
        raise UsageError(f"practised takes counts of 1 or more, got {config.practised}")
    if (config.heard_share or config.heard_spread != 1) and not config.introduction:
        raise UsageError("heard_share and heard_spread are an introduction's: set introduction")
    for part in config.evolved:
        if part not in PARTS:
            raise UsageError(
                f"unknown part {part!r} in evolved: use some of {', '.join(PARTS)}."
                f"{did_you_mean(part, PARTS)}"
            )
    heard = ("heard_scale", "heard_width", "heard_excess")
    for name in ("introduction", "reward_scale", "width", "excess", *heard):
        if any(number <= 0 for number in getattr(config, name)):
            raise UsageError(f"{name} must be positive, got {getattr(config, name)}")
    given = [name for name in heard if getattr(config, name)]
    for name in ("reward_scale", "width", "excess", *given):
        early = config.introduction or (name == "reward_scale" and config.centred)
        if len(getattr(config, name)) not in (1, 1 + bool(early)):
            raise UsageError(
                f"{name} takes 1 number, or 2 where there is an introduction, got "
                f"{getattr(config, name)}"
            )
    if config.fits > 1 and config.wide == 1:
        raise UsageError("with wide 1 no initial states are fitted: set fits to 1")
    if (config.rare or config.score_gap) and not config.warmup and not config.init:
        raise UsageError("rare and score_gap are for what a warm-up leaves: set warmup above 0")
    if config.rare >= 0.5:
        raise UsageError(f"rare is a share below 0.5, got {config.rare}")
    if config.centred + config.fade > 1:
        raise UsageError("centred and fade are shares of one training: at most 1 together")
    if (config.centred or config.fade) and not config.budget:
        raise UsageError("centred and fade need to know how long a training is: set budget")
    if (config.centred or config.fade) and config.horizon > 1:
        raise UsageError("centred and fade are for a horizon of 1: set both to 0")
    if config.introduction and not config.warmup and not config.init:
        raise UsageError("introduction needs states that agents meet: set warmup above 0")
    if not 0 <= config.introduction_linear <= 1:
        raise UsageError(
            f"introduction_linear must be from 0 to 1, got {config.introduction_linear}"
        )
    if not 0 < config.introduction_share < 1:
        raise UsageError(
            f"introduction_share must be between 0 and 1, got {config.introduction_share}"
        )
    if not 0 <= config.heard_share < 1:
        raise UsageError(f"heard_share must be 0 or a share below 1, got {config.heard_share}")
    if config.judged and config.horizon > 1:
        raise UsageError("judged needs a horizon of 1: judges learn from single steps")
    if config.persistence and (config.horizon == 1 or not config.world_model):
        raise UsageError("persistence needs a horizon above 1, and a world model to start from")
    if config.population < 4 or config.population % 2:
        raise UsageError(f"population must be even and at least 4, got {config.population}")
    if config.stock and config.estimator != "evolution":
        raise UsageError("stock learners cannot be differentiated: use --estimator evolution")
    if config.stock and len(config.stock) < len(config.learners):
        raise UsageError("learners must be all stock (sb3:ppo) or all of this library's own")
    for text in () if config.stock else config.learners:
        parse_group(text)
