"""Commands of `gtn-rl` for classifiers: `supervised` and `search`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional

from gtn_rl import bounds
from gtn_rl.io.terminal import Flat, Place, fitted
from gtn_rl.supervised import SupervisedConfig, load, load_teacher, saved_task, train
from gtn_rl.supervised.data import Data

_DEFAULT: Any = SupervisedConfig()


def supervised(
    data: Positional[str],
    place: Annotated[Place, Flat],
    size: int | None = None,
    config: Annotated[SupervisedConfig, Flat] = _DEFAULT,
) -> int:
    """Meta-train a teacher of classifiers: the original Generative Teaching Network.

    Args:
        data: digits, mnist1d, or a folder or zip file of images: one folder for each class, MNIST's
            files or CIFAR-10's.
        size: Height and width to which images in class folders are scaled.
    """
    known = load(data, size, progress_bar=place.progress)
    result = place.run(train, known, config=config)
    said = verdict(known, config, result.scores)
    return place.report(result, "supervised", data, said, "")


def verdict(data: Data, config: SupervisedConfig, scores: Mapping[str, float]) -> str:
    """How classifiers do that a teacher trained, beside one that knows no input, in words."""
    if "test" not in scores:
        return "No classifier was judged: the run ended before. --resume goes on."
    commonest = data.train.labels.bincount(minlength=data.classes).argmax()
    guessed = 100 * float((data.test.labels == commonest).double().mean())
    gained = "It teaches" if scores["test"] > guessed else "It teaches nothing"
    text = (
        f"{gained}: fresh classifiers have {scores['test']:.1f} % of the test set right after "
        f"{config.inner_steps} steps, who always guesses the commonest class has {guessed:.1f} %"
    )
    if config.teacher == "real":
        return f"{text}."
    return f"{text}; --teacher real, with another --out, says what as many real examples teach."


def search(
    teacher: Positional[Path],
    data: Path | None = None,
    size: int | None = None,
    trials: int = 60,
    max_params: int | None = None,
    max_latency_us: float | None = None,
    max_memory_kb: float | None = None,
    real_steps: int = 2_000,
    figure: Path | None = None,
    seed: int = 0,
    json: Path | None = None,
    resume: bool = False,
) -> int:
    """Search networks by short trainings by a teacher, then train the best on real data.

    Args:
        teacher: Folder of a teacher, as gtn-rl supervised makes it.
        data: The images that the teacher was made for, if it was made for images.
        size: Height and width to which images in class folders are scaled, as for the teacher.
        trials: Networks that are tried with the teacher.
        max_params: Networks with more parameters are not tried.
        max_latency_us: Nor those that take longer than this for one example, on this machine.
        max_memory_kb: Nor those whose parameters take more than this.
        real_steps: Steps on real data for each network of the Pareto front.
        figure: Draw them there; the name ends in png, svg or pdf.
        seed: Seed of the search.
        json: File for all scores by the teacher, written after each training; search.json in the
            teacher's folder if not given.
        resume: Go on with what that file holds.
    """
    from gtn_rl.evaluation.report import check_figure
    from gtn_rl.supervised.search import confirmed, draw_front, front_table
    from gtn_rl.supervised.search import search as run
    from gtn_rl.supervised.space import Limits

    if figure is not None:
        check_figure(figure, asked=True)
    known = load(data or saved_task(teacher), size, progress_bar=True)
    found_teacher, config = load_teacher(teacher, known)
    limits = Limits(max_params, max_latency_us, max_memory_kb)
    bounds.within("real_steps", real_steps, bounds.Length)
    out = json or teacher / "search.json"
    found = run(
        found_teacher, known, config, trials=trials, seed=seed, limits=limits, out=out,
        resume=resume, progress_bar=True,
    )  # fmt: skip
    if found.texts:
        real = confirmed(found, known, real_steps, seed)
        print(fitted(front_table(found, real, real_steps)))
        if figure is not None:
            draw_front(found, real, real_steps, figure)
            print(f"figure: {figure}")
    print(f"scores: {out}")
    if found.stopped:
        print(f"{found.stopped}; the same command with --resume goes on")
        return 130
    return 0
