"""The command line: `gtn-rl train | distill | reward | compare | show | supervised | ...`."""

from __future__ import annotations

import csv
import math
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import tyro

from gtn_rl.config import TrainConfig
from gtn_rl.errors import GTNError
from gtn_rl.modes.distill_config import DistillConfig, distillation_for
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.targets import config_for

if TYPE_CHECKING:
    from gtn_rl.run import Result


@dataclass(frozen=True)
class Train:
    """Meta-train a synthetic environment for a real one."""

    target: tyro.conf.Positional[str]
    """Gymnasium id of the real environment, e.g. CartPole-v1."""

    out: Path
    """Folder for the artifact, the logs and the checkpoints."""

    resume: bool = False
    """Go on with the run that the folder holds."""

    progress: bool = True
    """Show a progress bar."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """Settings of the training."""

    def run(self) -> int:
        """Train; 130 after Ctrl-C, as shells expect."""
        from gtn_rl.evaluation.verdict import verdict
        from gtn_rl.train import train

        result = train(
            self.target, self.out, self.config,
            resume=self.resume, progress_bar=self.progress, command=_command(),
        )  # fmt: skip
        said = verdict(self.target, result.scores)
        return _report(result, self.out, "train", self.target, said, "compare")


@dataclass(frozen=True)
class Distill:
    """Learn a few (state, action) pairs from which fresh policies are cloned."""

    target: tyro.conf.Positional[str]
    """Gymnasium id of the real environment, e.g. CartPole-v1."""

    out: Path
    """Folder for the pairs, the logs and the checkpoints."""

    resume: bool = False
    """Go on with the run that the folder holds."""

    progress: bool = True
    """Show a progress bar."""

    config: Annotated[DistillConfig, tyro.conf.arg(name="")] = field(default_factory=DistillConfig)
    """Settings of the distillation."""

    def run(self) -> int:
        """Distill; 130 after Ctrl-C, as shells expect."""
        from gtn_rl.modes.distill import distill

        result = distill(
            self.target, self.out, self.config,
            resume=self.resume, progress_bar=self.progress, command=_command(),
        )  # fmt: skip
        said = (
            f"fresh policies cloned from {self.config.pairs} pairs in {self.config.steps} steps "
            f"score {result.score:.1f} on {self.target}"
        )
        return _report(result, self.out, "distill", self.target, said, "show")


@dataclass(frozen=True)
class Reward:
    """Learn a reward with which agents soon do well on the real dynamics."""

    target: tyro.conf.Positional[str]
    """Gymnasium id of the real environment, e.g. CartPole-v1."""

    out: Path
    """Folder for the reward network, the logs and the checkpoints."""

    form: str = "action"
    """Of the network: action, state or potential."""

    additive: bool = False
    """Add the learned reward to the real one instead of replacing it."""

    terms: bool = False
    """Show the network of form state the real reward as well."""

    resume: bool = False
    """Go on with the run that the folder holds."""

    progress: bool = True
    """Show a progress bar."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """Settings of the meta-training."""

    def run(self) -> int:
        """Train; 130 after Ctrl-C, as shells expect."""
        from gtn_rl.modes.reward import train_reward

        result = train_reward(
            self.target, self.out, self.config, form=self.form, additive=self.additive,
            terms=self.terms, resume=self.resume, progress_bar=self.progress, command=_command(),
        )  # fmt: skip
        said = f"fresh learners trained with it score {result.score:.1f} on {self.target}"
        return _report(result, self.out, "reward", self.target, said, "show")


@dataclass(frozen=True)
class Compare:
    """Train stock SB3 agents in the synthetic and in the real environment and score them."""

    artifact: tyro.conf.Positional[str]
    """Name of a shipped environment, e.g. gtn_rl/CartPole-v1, or a folder."""

    algos: tuple[str, ...] = ()
    """Algorithms, each with its own number of steps if need be: ppo a2c dqn:5000. Those of
    Stable-Baselines3 that handle the action space if not given."""

    steps: int | None = None
    """Environment steps of each agent, in either environment; as many as the synthetic one was made
    for if not given."""

    seeds: int = 10
    """Agents of each algorithm in each environment."""

    episodes: int = 20
    """Real episodes with which each final agent is scored."""

    real: bool = True
    """Train in the real environment as well."""

    jobs: int = 1
    """Processes."""

    json: Path | None = None
    """File for the summary and all raw scores; comparison.json in the artifact's folder, or in the
    working directory for a shipped one, if not given."""

    figure: Path | None = None
    """File for the figure (png, svg, pdf); beside the JSON file if not given."""

    progress: bool = True
    """Show a progress bar."""

    def run(self) -> int:
        """Compare, print the table, save scores and figure."""
        from gtn_rl.evaluation.compare import compare
        from gtn_rl.evaluation.report import caption, figure, table

        folder = Path(self.artifact)
        scores = self.json or (folder if folder.is_dir() else Path()) / "comparison.json"
        drawing = self.figure or scores.with_suffix(".png")
        comparison = compare(
            self.artifact, algos=self.algos, steps=self.steps, seeds=self.seeds,
            episodes=self.episodes, real=self.real, jobs=self.jobs, progress_bar=self.progress,
        )  # fmt: skip
        # Scores first: a figure that cannot be drawn must not cost what was computed.
        comparison.save(scores)
        print(f"{table(comparison)}\n\n{caption(comparison)}\n\n{comparison.verdict()}")
        print(f"scores: {scores}")
        print(f"figure: {figure(comparison, drawing, read_log(folder / 'log.csv'))}")
        return 0


@dataclass(frozen=True)
class Show:
    """Print the card of a synthetic environment or of distilled pairs."""

    artifact: tyro.conf.Positional[str]
    """Name of a shipped environment, or a folder."""

    def run(self) -> int:
        """Print it."""
        from gtn_rl.io.artifact import read_config
        from gtn_rl.io.card import render_card

        print(render_card(read_config(self.artifact)))
        return 0


@dataclass(frozen=True)
class Zoo:
    """List the shipped synthetic environments: target, size, cost and what agents reach."""

    def run(self) -> int:
        """Print the table."""
        from gtn_rl.zoo import table

        print(table())
        return 0


@dataclass(frozen=True)
class Supervised:
    """Meta-train a teacher of classifiers: the original Generative Teaching Network."""

    data: tyro.conf.Positional[str]
    """digits, mnist1d, or a folder or zip file of images: one folder for each class, MNIST's files
    or CIFAR-10's."""

    out: Path
    """Folder for the artifact, the logs and the checkpoints."""

    size: int | None = None
    """Height and width to which images in class folders are scaled."""

    resume: bool = False
    """Go on with the run that the folder holds."""

    progress: bool = True
    """Show a progress bar."""

    config: Annotated[SupervisedConfig, tyro.conf.arg(name="")] = field(
        default_factory=SupervisedConfig
    )
    """Settings of the training."""

    def run(self) -> int:
        """Train; 130 after Ctrl-C, as shells expect."""
        from gtn_rl.supervised import train

        result = train(
            self.data, self.out, self.config,
            resume=self.resume, progress_bar=self.progress, size=self.size, command=_command(),
        )  # fmt: skip
        said = (
            f"fresh learners after {self.config.inner_steps} steps: "
            f"{result.scores.get('validation', math.nan):.1f} % of the validation and "
            f"{result.scores.get('test', math.nan):.1f} % of the test set right"
        )
        return _report(result, self.out, "supervised", self.data, said, "")


@dataclass(frozen=True)
class Search:
    """Search networks by short trainings by a teacher, then train the best on real data."""

    teacher: tyro.conf.Positional[Path]
    """Folder of a teacher, as gtn-rl supervised makes it."""

    data: Path | None = None
    """The images that the teacher was made for, if it was made for images."""

    size: int | None = None
    """Height and width to which images in class folders are scaled, as for the teacher."""

    trials: int = 60
    """Networks that are tried with the teacher."""

    max_params: int | None = None
    """Networks with more parameters are not tried."""

    max_latency_us: float | None = None
    """Nor those that take longer than this for one example, on this machine."""

    max_memory_kb: float | None = None
    """Nor those whose parameters take more than this."""

    real_steps: int = 2_000
    """Steps on real data for each network of the Pareto front."""

    seed: int = 0
    """Seed of the search."""

    def run(self) -> int:
        """Search, train the front on real data, print it."""
        from gtn_rl.supervised import load, load_teacher, saved_task
        from gtn_rl.supervised.search import front_table, search
        from gtn_rl.supervised.space import Limits

        data = load(self.data or saved_task(self.teacher), self.size)
        teacher, config = load_teacher(self.teacher, data)
        found = search(
            teacher, data, config,
            trials=self.trials, seed=self.seed,
            limits=Limits(self.max_params, self.max_latency_us, self.max_memory_kb),
        )  # fmt: skip
        print(front_table(found, data, self.real_steps, self.seed))
        return 0


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Distill, tyro.conf.subcommand("distill")]
    | Annotated[Reward, tyro.conf.subcommand("reward")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Supervised, tyro.conf.subcommand("supervised")]
    | Annotated[Search, tyro.conf.subcommand("search")]
    | Annotated[Zoo, tyro.conf.subcommand("zoo")]
)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's `log.csv`, empty cells left out; no rows if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


Parsed = Train | Distill | Reward | Compare | Show | Supervised | Search | Zoo


def _command() -> str:
    """How to do this again."""
    return "gtn-rl " + shlex.join(sys.argv[1:])


def _report(result: Result, out: Path, verb: str, target: str, said: str, following: str) -> int:
    """Print what came of a run; the exit code, 130 after Ctrl-C, as shells expect."""
    again = f"gtn-rl {verb} {target} --out {out} --resume goes on"
    if not (out / "config.json").is_file():
        print(f"{result.stopped} before there was anything to save; {again}")
        return 130 if result.stopped == "interrupted" else 0
    why = "" if result.stopped in ("done", "converged") else f"stopped by {result.stopped}, "
    steps, seconds = f"{result.real_steps:,}", f"{result.seconds:.0f}"
    real = "real examples" if verb == "supervised" else "real steps"
    print(f"{why}{steps} {real}, {seconds} s\n{said}\nartifact: {out}")
    if following:
        print(f"next: gtn-rl {following} {out}")
    if result.stopped == "interrupted":
        print(again)
        return 130
    return 0


def parse(arguments: Sequence[str] | None) -> Parsed:
    """The command, with what is asked of a known target as the defaults."""
    draft = _parse(arguments, None)
    if isinstance(draft, Train):
        return _parse(arguments, replace(draft, config=config_for(draft.target)))
    if isinstance(draft, Reward):
        # Half of the library is behind it, and no other command needs that.
        from gtn_rl.modes.reward import reward_config_for

        return _parse(arguments, replace(draft, config=reward_config_for(draft.target)))
    if isinstance(draft, Distill):
        return _parse(arguments, replace(draft, config=distillation_for(draft.target)))
    return draft


def _parse(arguments: Sequence[str] | None, default: Train | Distill | Reward | None) -> Parsed:
    options: dict[str, Any] = {} if default is None else {"default": default}
    command: Parsed = tyro.cli(
        Command, prog="gtn-rl", args=arguments, description=__doc__, **options
    )
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; bad input ends it with one line on stderr and exit code 2."""
    if "OMP_NUM_THREADS" not in os.environ:
        # Small networks gain nothing from more, and lose much beside other work.
        torch.set_num_threads(1)
    if "" not in sys.path:
        # As `python` does: `my_env:MyEnv-v0` names a module in the working directory.
        sys.path.insert(0, "")
    try:
        command = parse(arguments)
        code = command.run()
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
