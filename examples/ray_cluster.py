"""Evolve a synthetic environment on a Ray cluster (extra `ray`).

The address of the cluster may be given, such as `auto`; without it Ray starts on this machine.
"""

import sys

import gtn_rl
from gtn_rl.config import Outer, Pretrain, TrainConfig, Workers


def main(address: str = "") -> None:
    """A taste: leave out `pretrain` and `outer` for a whole run."""
    config = TrainConfig(
        pretrain=Pretrain(real_steps=20_000),
        outer=Outer(steps=1, population=4),
        workers=Workers(executor="ray", count=2, ray_address=address),
        max_minutes=2,
    )
    result = gtn_rl.train("CartPole-v1", "runs/on_ray", config)
    print(result.scores, result.real_steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
