"""The inner loop in environments with dynamics: learners gather their own experience."""

from __future__ import annotations

import torch

from gtn_rl.agents.draw import ENTROPY
from gtn_rl.agents.draw_interactive import draw_interactive
from gtn_rl.agents.interactive import Interactive, train
from gtn_rl.config import TrainConfig
from gtn_rl.envs.synthetic import SyntheticEnv
from gtn_rl.inner.gradients import M, even_out, with_rows
from gtn_rl.inner.worlds import SyntheticWorld

LENGTH = 4
"""Steps of an episode between two updates of most learners; times episodes, the `batch_size`."""


def interact(
    env: SyntheticEnv, config: TrainConfig, generator: torch.Generator, *, create_graph: bool
) -> list[Interactive]:
    """Draw fresh learners and train each for `inner_steps` optimizer steps in `env`.

    Args:
        env: Synthetic environment of a horizon above 1; each of its P members teaches the same
            learners, with the same noise.
        config: Number, kinds and hyperparameters of the learners of one member.
        generator: Source of all randomness.
        create_graph: Whether the trained parameters are to be differentiated w.r.t. the
            environment's.

    Returns:
        Trained learners, a stack for each group; rows go member by member.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    trained = []
    for group in config.groups:
        learners = draw_interactive(
            group, env.observation_size, env.action_space, members=env.members,
            learning_rate=config.learners.learning_rate, entropy=ENTROPY, generator=generator,
            dtype=env.reward_parameters.dtype,
        )  # fmt: skip
        split = create_graph and env.members == 1
        world = SyntheticWorld(
            apart(env, group.count) if split else env,
            1 if split else group.count,
            max(config.learners.batch_size // LENGTH, 1),
            seed,
            shared=not split,
        )
        trained.append(
            train(
                learners, world, config.learners.inner_steps, seed, create_graph=create_graph,
                last=config.dynamics.truncation, segments=config.dynamics.checkpointing,
            )
        )  # fmt: skip
    return trained


def apart(env: M, count: int) -> M:
    """The same teacher once for each of some learners, their gradients evened out.

    Args:
        env: A teacher whose parameters are rows of `members`, which is 1.
        count: How many learners.
    """
    rows = torch.cat(list(env.parameters()), 1).expand(count, -1)
    if rows.requires_grad:
        rows.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: even_out(gradient, torch.ones(()))
        )
    return with_rows(env, rows)
