"""The command line: `gtn-rl train | distill | reward | compare | show | supervised | ...`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from gtn_rl.config import TrainConfig
from gtn_rl.errors import GTNError, UsageError, did_you_mean
from gtn_rl.io.terminal import Flat, Place, fitted
from gtn_rl.modes.distill_config import DistillConfig
from gtn_rl.targets import TARGETS, config_for

if TYPE_CHECKING:
    from gtn_rl.envs.factory import Made

# No torch here, which takes a second to import: help, the zoo and errors do without it.

COMMANDS = {
    "train": "Meta-train a synthetic environment for a real one.",
    "compare": "Train stock SB3 agents in a synthetic and in the real environment; score them.",
    "show": "Print the card of an artifact.",
    "zoo": "List the shipped synthetic environments.",
    "reward": "Learn a reward with which agents soon do well on the real dynamics.",
    "distill": "Learn a few (state, action) pairs from which fresh policies are cloned.",
    "supervised": "Meta-train a teacher of classifiers: the original GTN.",
    "search": "Search networks by short trainings by such a teacher.",
}

_HELP = """usage: gtn-rl COMMAND ...   (gtn-rl COMMAND --help lists its settings)

Generative Teaching Networks for reinforcement learning.

{commands}

other options:
  --version
  --tyro-print-completion {{bash,zsh,tcsh}}   completions for the shell"""


@dataclass(frozen=True)
class Real:
    """How the real environment is made."""

    env_kwargs: str = "{}"
    """Arguments of gymnasium.make, as JSON: '{"gravity": 5}'."""

    wrap: str = ""
    """A function that wraps the environment, as module:function, such as my_env:flatten; the module
    may be in the working directory."""

    def make(self, id: str) -> str | Made:
        """The id, or what makes it as asked."""
        from gtn_rl.envs.factory import made

        return made(id, self.env_kwargs, self.wrap)


_HERE: Any = Real()


def train(
    target: Positional[str],
    place: Annotated[Place, Flat],
    config: Annotated[TrainConfig, Flat],
    real: Annotated[Real, Flat] = _HERE,
) -> int:
    """Meta-train a synthetic environment for a real one.

    Args:
        target: Gymnasium id of the real environment, e.g. CartPole-v1.
    """
    import gtn_rl
    from gtn_rl.evaluation.verdict import verdict

    made = real.make(target)
    result = place.run(gtn_rl.train, made, config=config)
    said = verdict(str(made), result.scores, rows=result.rows)
    options = str(made).removeprefix(target)
    if ":" in target:
        options += f" --target {target}"
    return place.report(result, "train", made, said, f"compare {place.out}{options}")


def distill(
    target: Positional[str],
    place: Annotated[Place, Flat],
    config: Annotated[DistillConfig, Flat],
    real: Annotated[Real, Flat] = _HERE,
) -> int:
    """Learn a few (state, action) pairs from which fresh policies are cloned.

    Args:
        target: Gymnasium id of the real environment, e.g. CartPole-v1.
    """
    import gtn_rl
    from gtn_rl.evaluation.verdict import digits

    made = real.make(target)
    result = place.run(gtn_rl.distill, made, config=config)
    said = (
        f"fresh policies cloned from {config.pairs} pairs in {config.steps} steps "
        f"score {digits(result.score)} on {made}"
    )
    return place.report(result, "distill", made, said, f"show {place.out}")


def reward(
    target: Positional[str],
    place: Annotated[Place, Flat],
    config: Annotated[TrainConfig, Flat],
    form: str = "action",
    additive: bool = False,
    terms: bool = False,
    real: Annotated[Real, Flat] = _HERE,
) -> int:
    """Learn a reward with which agents soon do well on the real dynamics.

    Args:
        target: Gymnasium id of the real environment, e.g. CartPole-v1.
        form: Of the network: action, state or potential.
        additive: Add the learned reward to the real one instead of replacing it.
        terms: Show the network of form state the real reward as well.
    """
    import gtn_rl
    from gtn_rl.evaluation.verdict import digits

    made = real.make(target)
    result = place.run(
        gtn_rl.train_reward, made, config=config, form=form, additive=additive, terms=terms
    )
    said = f"fresh learners trained with it score {digits(result.score)} on {made}"
    return place.report(result, "reward", made, said, f"show {place.out}")


def compare(
    artifact: Positional[str],
    target: str = "",
    algos: tuple[str, ...] = (),
    steps: int | None = None,
    seeds: int = 10,
    episodes: int = 20,
    train_real: Annotated[bool, tyro.conf.arg(name="real")] = True,
    jobs: int = 1,
    json: Path | None = None,
    figure: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    real: Annotated[Real, Flat] = _HERE,
) -> int:
    """Train stock SB3 agents in the synthetic and in the real environment and score them.

    Args:
        artifact: Name of a shipped environment, e.g. gtn_rl/CartPole-v1, or a folder.
        target: Gymnasium id of the real environment; needed if it is module:Id, since an artifact
            does not decide what is imported.
        algos: Algorithms, each with its own number of steps if need be: ppo a2c dqn:5000. Those of
            Stable-Baselines3 that handle the action space if not given.
        steps: Environment steps of each agent, in either environment; as many as the synthetic one
            was made for if not given.
        seeds: Agents of each algorithm in each environment.
        episodes: Real episodes with which each final agent is scored.
        train_real: Train in the real environment as well.
        jobs: Processes.
        json: File for the summary and all raw scores, written after each agent; comparison.json in
            the artifact's folder, or in the working directory for a shipped one, if not given.
        figure: File for the figure (png, svg, pdf); beside the JSON file if not given.
        resume: Go on with what that file holds.
        progress: Show a progress bar.
    """
    from gtn_rl.envs.factory import as_made
    from gtn_rl.evaluation import report
    from gtn_rl.evaluation.compare import compare
    from gtn_rl.io.artifact import read_config, target_of

    folder = Path(artifact)
    scores = json or (folder if folder.is_dir() else Path()) / "comparison.json"
    drawing = figure or scores.with_suffix(".png")
    # Before anything is spent.
    plots = report.check_figure(drawing, asked=figure is not None)
    named = read_config(artifact)["target"]
    target_of(artifact, {"target": named.partition(" ")[0]}, target)
    made = as_made(named, real.env_kwargs, real.wrap)
    comparison = compare(
        artifact, made, algos=algos, steps=steps, seeds=seeds, episodes=episodes, real=train_real,
        jobs=jobs, out=scores, resume=resume, progress_bar=progress,
    )  # fmt: skip
    if comparison.cells:
        print(f"{fitted(report.table(comparison))}\n\n{report.caption(comparison)}\n")
        print(f"{comparison.verdict()}\nscores: {scores}")
        if plots:
            log = report.read_log(folder / "log.csv")
            print(f"figure: {report.figure(comparison, drawing, log)}")
        else:
            print("figure: none, it needs pip install 'gtn_rl[plots]'")
    if comparison.stopped:
        print(f"{comparison.stopped}; the same command with --resume goes on")
        return 130
    return 0


def show(artifact: Positional[str]) -> int:
    """Print the card of an artifact.

    Args:
        artifact: Name of a shipped environment, or a folder.
    """
    from gtn_rl.io.card import render_card
    from gtn_rl.io.kinds import check

    print(render_card(check(artifact)))
    return 0


def zoo() -> int:
    """List the shipped synthetic environments: target, size, cost and what agents reach."""
    from gtn_rl.zoo import table

    print(fitted(table()))
    return 0


def command_of(name: str, arguments: Sequence[str]) -> Callable[..., int]:
    """The function of a command, with the defaults of the target that is among the arguments."""
    if name == "train":
        # A target is no option's value.
        pairs = zip(["", *arguments], arguments, strict=False)
        known = [now for before, now in pairs if now in TARGETS and before not in _WITH_NAMES]
        return partial(train, config=config_for(known[0]) if known else TrainConfig())
    if name == "distill":
        return partial(distill, config=DistillConfig())
    if name == "reward":
        from gtn_rl.config import reward_config

        return partial(reward, config=reward_config())
    if name in ("supervised", "search"):
        chosen: Callable[..., int] = getattr(
            importlib.import_module("gtn_rl.supervised.commands"), name
        )
        return chosen
    others: dict[str, Callable[..., int]] = {"compare": compare, "show": show, "zoo": zoo}
    return others[name]


_WITH_NAMES = ("--out", "--init")
"""Options whose value may be called like a target."""


def parse(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; its exit code."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        commands = "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items())
        print(_HELP.format(commands=commands))
        return 0
    if name == "--version":
        import gtn_rl

        print(f"gtn_rl {gtn_rl.__version__}")
        return 0
    if name.startswith("--tyro-"):
        every = {name: command_of(name, ()) for name in COMMANDS}
        tyro.extras.subcommand_cli_from_dict(every, prog="gtn-rl", args=list(arguments))
        return 0
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command {name!r}: use one of {', '.join(COMMANDS)}."
            f"{did_you_mean(name, COMMANDS)}"
        )
    return tyro.cli(command_of(name, rest), prog=f"gtn-rl {name}", args=rest)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends it with one line on stderr and exit code 2."""
    # Small networks gain nothing from more threads, and lose much beside other work.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "" not in sys.path:
        # As `python` does: `my_env:MyEnv-v0` names a module in the working directory.
        sys.path.insert(0, "")
    try:
        code = parse(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever reads (head) has seen enough; what is still to be written must not be tried again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (GTNError, OSError) as error:
        message = (
            str(error) if isinstance(error, GTNError) else f"{error.strerror}: {error.filename}"
        )
        print(f"gtn-rl: error: {' '.join(message.split())}", file=sys.stderr)
        code = 2
    raise SystemExit(code)


if __name__ == "__main__":
    main()
