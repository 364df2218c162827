"""The inner loop: fresh learners trained in the synthetic environment, differentiably."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtn_rl.agents.learners import Learners, draw, train
from gtn_rl.agents.optim import Adam
from gtn_rl.config import TrainConfig, parse_network
from gtn_rl.envs.synthetic import SyntheticEnv


def inner_loop(
    env: SyntheticEnv, config: TrainConfig, generator: torch.Generator, *, create_graph: bool
) -> list[Learners]:
    """Draw fresh learners and train them for `config.inner_steps` optimizer steps in `env`.

    The generator's state fixes the learners and all their data: the same state again gives the same
    training of a changed environment.

    Args:
        env: Synthetic environment with one member, shared by all learners.
        config: Number, kinds and hyperparameters of the learners.
        generator: Source of all randomness.
        create_graph: Whether the trained parameters are to be differentiated w.r.t. the
            environment's.

    Returns:
        Trained learners, one stack for each network shape.
    """
    inputs, outputs = env.observation_space.shape[0], int(env.action_space.n)
    trained = []
    with torch.set_grad_enabled(create_graph):
        for text in config.networks:
            learners = draw(
                parse_network(text, inputs, outputs),
                policies=config.policies,
                q_networks=config.q_networks,
                learning_rate=config.learning_rate,
                entropy=config.entropy,
                temperature=config.temperature,
                generator=generator,
                dtype=env.initial_parameters.dtype,
            )
            shape = (learners.count, config.inner_steps, config.batch_size)
            noise = torch.randn(
                1, shape[0] * shape[1] * shape[2], env.noise_size,
                generator=generator, dtype=env.initial_parameters.dtype,
            )  # fmt: skip
            observations = env.initial(noise)
            rewards = env.rewards(observations)
            trained.append(
                train(
                    learners,
                    observations.view(*shape, inputs),
                    rewards.view(*shape, outputs),
                    Adam(),
                    create_graph=create_graph,
                )
            )
    return trained


def act(learners: Sequence[Learners], observations: Tensor) -> Tensor:
    """Logits `[K, N, A]` of all learners of all stacks at observations `[K, N, O]`."""
    parts = torch.split(observations, [stack.count for stack in learners])
    return torch.cat([stack.logits(o) for stack, o in zip(learners, parts, strict=True)])


def policy_mask(learners: Sequence[Learners]) -> Tensor:
    """`[K]`, true for learners that are policies, false for Q-networks."""
    return torch.cat([torch.arange(stack.count) < stack.policies for stack in learners])
