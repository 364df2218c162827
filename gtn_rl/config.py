"""Settings of a training run; the text under each field is the command line's help."""

from __future__ import annotations

from dataclasses import dataclass

from gtn_rl.agents.networks import ACTIVATIONS, MLP
from gtn_rl.errors import UsageError


@dataclass(frozen=True)
class TrainConfig:
    """How a synthetic environment is meta-trained."""

    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same run."""

    max_real_steps: int = 1_500_000
    """Stop after this many steps of the real environment, evaluations included."""

    max_minutes: float = 10.0
    """Stop after this many minutes."""

    target_return: float | None = None
    """Mean real return of fresh learners that counts as solved; Gymnasium's reward threshold of the
    target if not given. Training goes on until `patience` more evaluations bring nothing better."""

    evaluate_every: int = 5
    """Outer steps between evaluations; each also writes the checkpoint and the artifact."""

    patience: int = 3
    """Evaluations without a better one, once the target return is reached, before it stops."""

    policies: int = 8
    """Policy-gradient learners trained side by side for each network shape."""

    q_networks: int = 8
    """Q-learning learners trained side by side for each network shape. Mixing algorithms is what
    makes the environment teach agents it never saw."""

    networks: tuple[str, ...] = ("tanh:64-64",)
    """Network shapes of the learners: activation, colon, hidden units."""

    inner_steps: int = 64
    """Optimizer steps of a learner's training, the loop that is differentiated."""

    batch_size: int = 64
    """Synthetic observations in each of those steps."""

    learning_rate: tuple[float, float] = (1e-3, 1e-2)
    """Bounds of the learners' learning rates, drawn log-uniformly."""

    entropy: tuple[float, float] = (1e-4, 3e-2)
    """Bounds of the policies' entropy weights, drawn log-uniformly."""

    temperature: float = 0.1
    """Q-learners act in the real environment with softmax(Q / temperature)."""

    hidden: tuple[int, ...] = (32,)
    """Hidden units of the synthetic environment's networks."""

    copies: int = 8
    """Real environments for each learner."""

    exam_copies: int = 2
    """Real episodes for each learner in an evaluation."""

    rollout_steps: int = 128
    """Steps in each real environment for each outer step."""

    outer_epochs: int = 1
    """Updates from one batch of real experience. The inner loop is run again for each but the
    first, so more of them save real steps and cost seconds."""

    outer_learning_rate: float = 4e-3
    """Adam's first step size for the synthetic environment's parameters; it falls linearly to 0 at
    `max_real_steps`."""

    max_gradient_norm: float = 1.0
    """The meta-gradient is shortened to this norm."""

    clip: float = 0.2
    """PPO's bound on how far one batch of experience may move the trained learners."""

    discount: float = 0.99
    """Gamma of the real return's advantages."""

    trace: float = 0.95
    """Lambda of generalized advantage estimation."""

    critic_learning_rate: float = 1e-3
    """Adam's step size for the critic of the real task."""

    averaging: float = 0.9
    """Decay of the moving average of the parameters; the average is what is evaluated and saved."""

    def __post_init__(self) -> None:
        """Reject values that cannot work before anything is spent.

        Raises:
            UsageError: The first such value.
        """
        positive = (
            "max_real_steps", "max_minutes", "evaluate_every", "patience", "inner_steps",
            "batch_size", "copies", "exam_copies", "rollout_steps", "outer_epochs",
            "outer_learning_rate", "max_gradient_norm", "clip", "temperature",
            "critic_learning_rate",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("discount", "trace", "averaging"):
            if not 0 <= getattr(self, name) < 1 + (name == "trace") * 1e-9:
                raise UsageError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("learning_rate", "entropy"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise UsageError(f"{name} must be 0 < low <= high, got {low} {high}")
        if min(self.policies, self.q_networks) < 0 or self.policies + self.q_networks < 1:
            raise UsageError("policies and q_networks must not be negative, nor both 0")
        if not self.networks:
            raise UsageError("networks must name at least one shape, such as tanh:64-64")
        for text in self.networks:
            parse_network(text, 1, 1)

    @property
    def num_learners(self) -> int:
        """All learners, of all network shapes."""
        return (self.policies + self.q_networks) * len(self.networks)


def parse_network(text: str, inputs: int, outputs: int) -> MLP:
    """The network that e.g. `"tanh:64-64"` names, between the given inputs and outputs.

    Raises:
        UsageError: Not of that form.
    """
    activation, _, units = text.partition(":")
    try:
        hidden = tuple(int(unit) for unit in units.split("-"))
        if activation not in ACTIVATIONS or min(hidden) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"network {text!r} is not of the form tanh:64-64 (or relu:...)") from None
    return MLP((inputs, *hidden, outputs), activation)
