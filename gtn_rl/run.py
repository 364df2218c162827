"""One run of the outer loop: its costs, its log and its checkpoints."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gtn_rl.envs.allowance import Allowance, SpentError, within
from gtn_rl.errors import ArtifactError, UsageError
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import read_config
from gtn_rl.io.files import locked
from gtn_rl.io.runlog import RunLog
from gtn_rl.loop import Reserving, Stage, outer_loop
from gtn_rl.state import Progress, State, load_sized, progress_of

_LOG = logging.getLogger(__name__)

_LEFT, _LEFT_MOST = 0.5, 90.0
"""Share of the minutes, and seconds at most, that stages before the learners' leave to them."""

_SLOW = 5.0
"""Seconds after which a checkpoint is written between evaluations as well."""


@dataclass(frozen=True)
class Result:
    """A trained teacher and what it cost.

    Args:
        teacher: The teacher with the best evaluation of the last stage.
        score: That evaluation; not a number if there was none.
        scores: What else was measured: real returns of random agents (`random`), of the optimal
            policy of the teacher (`optimal`) and of final learners by their names, or accuracies.
        real_steps: Steps of the real environment, or real examples, evaluations included.
        seconds: Wall time.
        stopped: Why it ended: `"done"`, `"converged"`, a budget, or `"interrupted"`.
        rows: The log, one row per outer step (columns: `gtn_rl.io.runlog.COLUMNS`).
    """

    teacher: Any
    score: float
    scores: dict[str, float]
    real_steps: int
    seconds: float
    stopped: str
    rows: list[dict[str, Any]]


class Run:
    """What the outer loop needs besides its stages.

    No real step is taken that a budget does not allow: an outer step or an evaluation that would is
    left out, and the run ends. So that it does not come to that, a stage that knows what judging
    takes (`Reserving`) ends while this is still there for it and for the stages after it.

    Args:
        state: What the first stage begins with.
        budgets: Largest `real_steps` and `minutes`, as far as there are any.
        log: Told of every outer step.
        save: Called with the state at every checkpoint.
    """

    def __init__(
        self, state: State, budgets: Mapping[str, float], log: RunLog,
        save: Callable[[Run, Stage | None], None],
    ) -> None:  # fmt: skip
        self.state, self.progress, self.log = state, Progress(), log
        self._budgets, self._save = budgets, save
        self._inside: dict[str, Any] | None = None
        self.best = state.teacher
        self.allowance = Allowance()
        self._clock = time.perf_counter()
        self._stages: Sequence[Stage] = ()
        self._begun: Stage | None = None
        self._resumed = False
        self._last = False
        self._saved = 0.0

    @property
    def step(self) -> int:
        """The outer step of the stage that is on."""
        return self.progress.step

    def resume(self, content: Mapping[str, Any]) -> None:
        """Stand where a checkpoint was written.

        Raises:
            ArtifactError: It is none of a run of this kind.
        """
        with checkpoint.fitting():
            self.progress = progress_of(content["progress"])
            self.state.load_state_dict(content["state"])
            self._inside, self._resumed = content["stage"], True

    def remaining(self, stages: Sequence[Stage]) -> Iterator[Stage]:
        """The stages that are not over, each closed when the next one begins."""
        self._stages = stages
        self._allow()
        while self.progress.stage < len(stages) and not self.progress.stopped:
            stage = stages[self.progress.stage]
            try:
                yield stage
            finally:
                if self._begun is stage:
                    stage.close()
        self.progress.stopped = self.progress.stopped or self.progress.cut or "done"

    def enter(self, stage: Stage) -> None:
        """Begin a stage, or go on in the middle of the one that was killed."""
        self.log.say(stage.name, stage.scored, self.progress.stage, len(self._stages))
        with checkpoint.fitting() if self._resumed else nullcontext():
            stage.begin(self.state)
        self._begun, self._resumed = stage, False
        if self._inside is not None:
            with checkpoint.fitting():
                if not checkpoint.alike(stage.state_dict(), self._inside["stage"]):
                    raise ValueError
                stage.load_state_dict(self._inside["stage"])
                stage.estimator.load_state_dict(self._inside["estimator"])
                self.best = copy.deepcopy(stage.estimator.teacher)
                load_sized(self.best, self._inside["best"])
            self._inside = None
        else:
            self.progress.best = -math.inf
            self.best = copy.deepcopy(stage.estimator.teacher)
            self.progress.dearest = self.progress.exam = (0, 0.0)
            self._evaluate(stage, {}, last=False)
        self._last = self._share(stage) < 1 and self._ends(stage)
        self._saved = self.progress.seconds
        stage.reset(self.step)

    def over(self, stage: Stage) -> bool:
        """Whether a stage, or the run, has come to its end."""
        self._spend()
        spent, share = self._used()
        if share >= 1:
            self.progress.stopped = spent
            return True
        return self._last or stage.converged(self.step) or self._share(stage) >= 1

    def record(self, stage: Stage, row: dict[str, Any]) -> None:
        """Count and log an outer step; evaluate and save where it is time to."""
        before = self._costs
        self.progress.step += 1
        self.progress.steps += 1
        self._spend()
        self.progress.dearest = _dearer(self.progress.dearest, before, self._costs)
        over = self._share(stage) >= 1
        self._last = not over and self._ends(stage)
        last = over or self._last
        due = last or self.step % stage.every == 0
        late = stage.steady and self.progress.seconds - self._saved >= _SLOW
        if due:
            self._evaluate(stage, row, last=last)
        else:
            self.log.add(self.progress, row, self.share(stage))
        if due or late:
            self._save(self, stage)
            self._saved = self.progress.seconds
        if due:
            stage.reset(self.step)

    def leave(self, stage: Stage) -> None:
        """Make the best teacher the one that is handed on."""
        self.state.teacher = self.best
        stage.end(self.state)
        self.progress.stage += 1
        self.progress.step = 0
        self._save(self, None)

    def share(self, stage: Stage) -> float:
        """How much of the run is done, at least."""
        own = min(max(self._share(stage), 0.0), 1.0)
        stages = (self.progress.stage + own) / max(len(self._stages), 1)
        return max(stages, min(self._used()[1], 1.0))

    def stop(self, why: str) -> None:
        """End at once: an outer step that was begun is left out, but not what it cost."""
        self.progress.seconds += time.perf_counter() - self._clock
        self.progress.real_steps += self.allowance.taken
        self.progress.stopped = why
        self.state.teacher = self.best

    def checkpoint(self, stage: Stage | None) -> dict[str, Any]:
        """All that a resumed run needs."""
        inside = None if stage is None else {
            "stage": stage.state_dict(),
            "estimator": stage.estimator.state_dict(),
            "best": self.best.state_dict(),
        }  # fmt: skip
        return {
            "progress": asdict(self.progress),
            "state": self.state.state_dict(),
            "stage": inside,
        }

    def result(self) -> Result:
        """What came of it."""
        progress = self.progress
        self.state.teacher.requires_grad_(False)
        score = progress.best if math.isfinite(progress.best) else math.nan
        return Result(
            self.state.teacher, score, dict(self.state.returns), progress.real_steps,
            progress.seconds, progress.stopped, progress.rows,
        )  # fmt: skip

    @property
    def _costs(self) -> tuple[int, float]:
        return self.progress.real_steps, self.progress.seconds

    def _spend(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self._clock = now
        self.progress.real_steps += self.allowance.taken
        self._allow()

    def _allow(self) -> None:
        """Have real environments keep within what is left."""
        real_steps, seconds = self._costs
        self.allowance.steps = self._budgets.get("real_steps", math.inf) - real_steps
        left = 60 * self._budgets.get("minutes", math.inf) - seconds
        self.allowance.until, self.allowance.taken = self._clock + left, 0

    def _ends(self, stage: Stage) -> bool:
        """Whether a stage ends before its time: what is left is for judging and later stages."""
        spent, share = self._used(stage)
        if share >= 1:
            # From here on no checkpoint is written: with a larger budget the stage goes on as if
            # it had never ended.
            self.progress.cut = spent
        return share >= 1

    def _used(self, stage: Stage | None = None) -> tuple[str, float]:
        """The budget of the run of which most is used, and the share.

        Args:
            stage: Where it is given, after another outer step of it that takes as much as the
                dearest so far, and after the judging that is still to come.
        """
        real_steps, seconds = self._costs
        if stage is not None:
            kept, pace = self._kept(stage), seconds / max(real_steps, 1)
            real_steps += self.progress.dearest[0] + kept
            exam = self.progress.exam[1]
            # Of a step that was never taken it is not known how long it takes.
            seconds += self.progress.dearest[1] or 3 * exam
            seconds += max(kept * pace, 2 * exam, exam + self._untimed(stage))
        used = {
            "real steps": real_steps / self._budgets.get("real_steps", math.inf),
            "minutes": seconds / 60 / self._budgets.get("minutes", math.inf),
        }
        return max(used.items(), key=lambda item: item[1])

    def _kept(self, stage: Stage) -> int:
        """Real steps that are kept back for judging at the end of a stage and after it."""
        if not isinstance(stage, Reserving) or not stage.reserve(self.state):
            return 2 * self.progress.exam[0]
        rest = self._stages[self.progress.stage :]
        return sum(each.reserve(self.state) for each in rest if isinstance(each, Reserving))

    def _untimed(self, stage: Stage) -> float:
        """Seconds that are kept back for later stages while no learner's training was timed."""
        timed = isinstance(stage, Reserving) and not stage.reserve(self.state)
        if timed or self.progress.stage + 1 == len(self._stages):
            return 0.0
        budget = 60 * self._budgets.get("minutes", math.inf)
        return min(_LEFT * budget, _LEFT_MOST)

    def _share(self, stage: Stage) -> float:
        return max(stage.shares(self.step).values(), default=0.0)

    def _evaluate(self, stage: Stage, row: dict[str, Any], *, last: bool) -> None:
        before = self._costs
        row |= stage.evaluate(self.step, last=last)
        self._spend()
        self.progress.exam = _dearer(self.progress.exam, before, self._costs)
        if "evaluation" in row:
            score, best = row["evaluation"], self.progress.best
            if score >= best or not stage.competes:
                # Of equals the later: it has been trained longer.
                self.progress.best = score
                self.best = copy.deepcopy(stage.estimator.teacher)
        if row:
            self.log.add(self.progress, row, self.share(stage))


def _dearer(
    most: tuple[int, float], before: tuple[int, float], after: tuple[int, float]
) -> tuple[int, float]:
    return max(most[0], after[0] - before[0]), max(most[1], after[1] - before[1])


def _check_minutes(folder: Path, config: Any) -> None:
    """Nothing, unless a run that `max_minutes` ended is to go on without more of them.

    It would go back to its last checkpoint and might not come as far as it had.
    """
    try:
        training = read_config(folder).get("training", {})
    except ArtifactError:
        # A run goes on from its checkpoint, whatever became of its artifact.
        return
    used = training.get("config", {}).get("max_minutes")
    known = training.get("stopped") == "minutes" and isinstance(used, int | float)
    if known and config.max_minutes <= used:
        raise UsageError(
            f"{folder}: the run ended when its {used:g} minutes were over: give it more of them "
            "(max_minutes) to go on"
        )


def go(
    stages: Sequence[Stage], state: State, *, target: str, config: Any, folder: Path | None,
    resume: bool, budgets: Mapping[str, float], write: Callable[..., Path], command: str,
    progress_bar: bool, columns: Mapping[str, str], before: Mapping[str, float] | None = None,
    ready: Callable[[nn.Module], bool] = lambda _: True,
) -> Result:  # fmt: skip
    """Run stages from their start, or from a checkpoint, to their artifact.

    Args:
        stages: What is done.
        state: What the first one begins with.
        target: Of the run.
        config: Its settings, a dataclass with a `seed`.
        folder: Of the artifact, the logs and the checkpoints, if there is one.
        resume: Whether to go on with what the folder holds.
        budgets: Largest `real_steps` and `minutes`.
        write: Saves a teacher to the folder, with `training` and `results`.
        command: Recorded in the artifact as the way to reproduce it.
        progress_bar: Whether to show a progress bar.
        columns: Of the log.
        before: What the given start cost, if one is given.
        ready: Whether a teacher is one that can be saved as an artifact.

    Raises:
        UsageError: A run that `max_minutes` ended is to go on without more of them.
    """
    if folder is None:
        _LOG.warning("no folder is given (out): nothing of this run is saved")

    def save(run: Run, stage: Stage | None) -> None:
        if folder is None:
            return
        teacher = run.best if stage is not None else run.state.teacher
        if ready(teacher):
            training = run.progress.costs() | {
                "seed": config.seed, "command": command, "config": asdict(config)
            }  # fmt: skip
            write(teacher, folder, training=training, results={"returns": run.state.returns})
        ended = stage is None and run.progress.stopped not in ("", "done")
        if not ended and not run.progress.cut:
            # What a budget ended goes on, with a larger one, in the middle of its stage.
            checkpoint.save(folder, target, config, run.checkpoint(stage))

    content = None
    if folder is not None and resume:
        _check_minutes(folder, config)
        if checkpoint.started(folder):
            content = checkpoint.load(folder, target, config)
    rows = [] if content is None else progress_of(content["progress"]).rows
    with locked(folder), RunLog(folder, rows, progress=progress_bar, columns=columns) as log:
        run = Run(state, budgets, log, save)
        run.progress.before = dict(before or {})
        if content is not None:
            run.resume(content)
            if run.progress.stopped not in ("done", "converged"):
                run.progress.stopped = ""
            run.progress.cut = ""
        try:
            with within(run.allowance):
                outer_loop(stages, run)
        except KeyboardInterrupt:
            run.stop("interrupted")
        except SpentError as spent:
            run.stop(run.progress.cut or str(spent))
            save(run, None)
        else:
            save(run, None)
    return run.result()
