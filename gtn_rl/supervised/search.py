"""Architecture search by proxy: rank networks after a short training by a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from gtn_rl import bounds
from gtn_rl.agents.classifier import Lesson, draw, sgd
from gtn_rl.agents.spec import parse_group
from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.io.files import locked, replacing, write_text
from gtn_rl.seeding import generator
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, Part
from gtn_rl.supervised.evaluate import accuracy, taught
from gtn_rl.supervised.space import Limits, parameters_of, propose

_PROXY, _TRUTH = range(10, 12)


def proxy_scores(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    texts: Sequence[str],
    *,
    seed: int = 0,
    count: int = 4,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Validation accuracies `[N]`, in percent, after training by a teacher (its inner steps)."""
    scores = []
    for text in texts:
        own = replace(config, learners=(text,), draw=0)
        (stack,) = taught(teacher, data, own, generator(seed, _PROXY), count=count)
        scores.append(float(accuracy(stack, data.validation).mean()))
    return np.array(scores)


@dataclass(frozen=True)
class RealTraining:
    """Ordinary training on real data: SGD with momentum, a step size that is constant or falls.

    Args:
        steps: Optimizer steps.
        rate: First learning rate.
        momentum: Of all steps.
        batch: Examples a step.
        cosine: Whether the rate falls to 0 along half a cosine.
    """

    steps: int
    rate: float = 0.05
    momentum: float = 0.9
    batch: int = 64
    cosine: bool = True

    def lesson(
        self, part: Part, classes: int, count: int, source: torch.Generator, first: int, end: int
    ) -> Lesson:
        """Steps `first` to `end`, with other examples for each of `count` networks."""
        index = torch.randint(len(part), (end - first, count, self.batch), generator=source)
        share = torch.arange(first, end) / self.steps
        rate = self.rate * ((1 + torch.cos(torch.pi * share)) / 2 if self.cosine else 1 + 0 * share)
        targets = F.one_hot(part.labels[index], classes).float()
        return Lesson(part.inputs[index], targets, rate, torch.full_like(rate, self.momentum))


def real_scores(
    data: Data,
    texts: Sequence[str],
    training: RealTraining,
    *,
    keep: Sequence[int] = (),
    on: str = "validation",
    seed: int = 0,
    count: int = 2,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Accuracies `[N, keep + 1]`, in percent, during and after training on real data.

    Args:
        data: The task.
        texts: N candidates.
        training: How they are trained.
        keep: Steps at which they are scored, besides the end.
        on: Part of the data on which they are scored.
        seed: Of the fresh networks and of the data's order.
        count: Networks for each candidate, averaged.
    """
    part: Part = getattr(data, on)
    points = sorted({*keep, training.steps})
    # By the fifty steps: images for all of them fill the memory.
    ends = sorted({*points, *range(50, training.steps, 50)})
    rows = []
    for text in texts:
        source = generator(seed, _TRUTH)
        group = replace(parse_group(text), count=count)
        stack = draw(group, data.shape, data.classes, generator=source)
        velocity, scores = torch.zeros_like(stack.parameters), []
        for first, end in zip([0, *ends], ends, strict=False):
            lesson = training.lesson(data.train, data.classes, count, source, first, end)
            parameters, velocity = sgd(stack, (stack.parameters, velocity), lesson)
            stack = stack.with_parameters(parameters)
            if end in points:
                scores.append(float(accuracy(stack, part).mean()))
        rows.append(scores)
    return np.array(rows)


class _Codes(TorchFunctionMode):
    """Keeps which units every ReLU lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.relu, torch.relu, torch.relu_, Tensor.relu_):
            self.codes.append((result > 0).flatten(-result.dim() + 1).float())
        return result


def naswot_scores(
    data: Data, texts: Sequence[str], *, seed: int = 0, batch: int = 128
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores `[N]` without training: how differently examples activate ReLUs (arXiv 2006.04647).

    The logarithm of the determinant of the matrix that counts, for each two examples of a batch,
    the units that both let through or both do not (Mellor et al. 2021, section 3).
    """
    scores = []
    for text in texts:
        source = generator(seed, _TRUTH)
        group = replace(parse_group(text), count=1)
        stack = draw(group, data.shape, data.classes, generator=source)
        index = torch.randint(len(data.train), (batch,), generator=source)
        with torch.no_grad(), _Codes() as found:
            stack.logits(data.train.inputs[index].unsqueeze(0))
        kernel = torch.zeros(batch, batch, dtype=torch.float64)
        for code in found.codes:
            rows = code.view(batch, -1).double()
            kernel += rows @ rows.T + (1 - rows) @ (1 - rows).T
        scores.append(float(torch.linalg.slogdet(kernel)[1]))
    return np.array(scores)


@dataclass(frozen=True)
class Found:
    """What a search ends with.

    Args:
        texts: Candidates it tried, best proxy score first.
        scores: Their proxy scores, in percent.
        sizes: Their numbers of parameters.
        stopped: Why candidates are missing, if some are.
    """

    texts: list[str]
    scores: list[float]
    sizes: list[int]
    stopped: str = ""

    def front(self) -> list[int]:
        """Those that no smaller or equal candidate beats, smallest first (a Pareto front)."""
        best, chosen = -np.inf, []
        for index in sorted(range(len(self.texts)), key=lambda i: (self.sizes[i], -self.scores[i])):
            if self.scores[index] > best:
                best = self.scores[index]
                chosen.append(index)
        return chosen


def search(
    teacher: nn.Module,
    data: Data,
    config: SupervisedConfig,
    *,
    trials: int = 60,
    limits: Limits = Limits(),
    seed: int = 0,
    progress_bar: bool = False,
    out: Path | None = None,
    resume: bool = False,
) -> Found:
    """Search the space with Optuna's TPE, every trial being a short training by the teacher.

    A search that goes on proposes the same candidates again, and trains those that are not known.
    Ctrl-C ends it with what there is.

    Args:
        teacher: Finished.
        data: The task.
        config: Settings it was trained with.
        trials: Trainings.
        limits: Candidates beyond them are not trained.
        seed: Of the search.
        progress_bar: Whether to show a progress bar.
        out: JSON file that is written after each training.
        resume: Go on with what that file holds.

    Raises:
        UsageError: No candidate is small enough; or a number that cannot be meant, a file that is
            there without `resume`, or one of another search.
        MissingExtraError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the search needs optuna: pip install 'gtn_rl[search]'") from error
    bounds.within("trials", trials, bounds.Length)
    bounds.within("seed", seed, bounds.Small)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parameters = torch.nn.utils.parameters_to_vector(teacher.parameters()).detach()
    whose = {
        "data": data.name, "seed": seed, "config": json.loads(json.dumps(asdict(config))),
        "teacher": hashlib.sha256(parameters.numpy().tobytes()).hexdigest(),
    }  # fmt: skip

    def objective(trial: Any) -> float:
        text = propose(trial.suggest_categorical, data.shape)
        if not text or not limits.admit(text, data):
            raise optuna.TrialPruned
        if text not in tried:
            tried[text] = float(proxy_scores(teacher, data, config, [text], seed=seed)[0])
            if out is not None:
                write_text(out, json.dumps(whose | {"tried": tried}, indent=1) + "\n")
        return tried[text]

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    stopped = ""

    def advance(*_: Any) -> None:
        bar.update()

    with (
        locked(*(None,) if out is None else (out.parent, out.name)),
        tqdm(total=trials, desc="networks", disable=not progress_bar) as bar,
    ):
        tried = {} if out is None else _known(out, whose, resume=resume)
        try:
            study.optimize(objective, n_trials=trials, callbacks=[advance])
        except KeyboardInterrupt:
            stopped = f"interrupted after {len(study.trials) - 1} of {trials} trials"
    if not tried and not stopped:
        raise UsageError(f"none of {trials} candidates is within the limits: raise them, or trials")
    texts = sorted(tried, key=lambda text: -tried[text])
    sizes = [parameters_of(text, data) for text in texts]
    return Found(texts, [tried[text] for text in texts], sizes, stopped)


def _known(out: Path, whose: dict[str, Any], *, resume: bool) -> dict[str, float]:
    """The scores that a file of the same search holds."""
    if not resume and out.exists():
        raise UsageError(f"{out} exists: --resume goes on with it; else give another with --json")
    if not out.exists():
        return {}
    try:
        content = json.loads(out.read_text(encoding="utf-8"))
        tried = {str(text): float(score) for text, score in content.pop("tried").items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{out} holds no search ({type(error).__name__}): give another") from error
    if content != whose:
        raise UsageError(f"{out} is of another teacher, data or seed: give another file")
    return tried


def confirmed(found: Found, data: Data, steps: int, seed: int) -> list[float]:
    """Test accuracies, in percent, of the Pareto front's networks, trained on real data."""
    texts = [found.texts[index] for index in found.front()]
    real = real_scores(data, texts, RealTraining(steps), on="test", seed=seed)
    return [float(score) for score in real[:, -1]]


def front_table(found: Found, real: Sequence[float], steps: int) -> str:
    """The Pareto front as a Markdown table, with accuracies after so many steps on real data."""
    lines = [
        f"| network | parameters | by the teacher, % | after {steps:,} real steps, % |",
        "| --- | ---: | ---: | ---: |",
    ]
    for index, score in zip(found.front(), real, strict=True):
        lines.append(
            f"| {found.texts[index]} | {found.sizes[index]:,} | {found.scores[index]:.1f} | "
            f"{score:.1f} |"
        )
    return "\n".join(lines)


def draw_front(found: Found, real: Sequence[float], steps: int, path: Path) -> None:
    """Draw all networks that were tried, and the Pareto front before and after real training.

    Args:
        found: What a search ended with.
        real: Accuracies of the front after training on real data.
        steps: Of that training.
        path: PNG, SVG or PDF; what `evaluation.report.check_figure` says of it holds.
    """
    from matplotlib.figure import Figure

    figure, front = Figure(figsize=(5.2, 3.6), layout="constrained"), found.front()
    ax, sizes = figure.subplots(), [found.sizes[index] for index in front]
    ax.scatter(found.sizes, found.scores, s=12, color="#808080", label="tried")
    ax.plot(sizes, [found.scores[i] for i in front], "o-", ms=4, label="Pareto front")
    ax.plot(sizes, real, "s--", ms=4, label=f"after {steps:,} real steps, test set")
    ax.set(xscale="log", xlabel="parameters", ylabel="accuracy, %")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".").lower(), dpi=160)
