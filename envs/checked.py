"""A user's environment, watched: whatever it does wrong is said at once, in one line."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gtn_rl.errors import GTNError, TargetError, one_line

T = TypeVar("T")
Factory = Callable[[], gym.Env[Any, Any]]

LONGEST = 20_000
"""Steps after which an episode without a time limit is taken for one that never ends."""

TIMEOUT = float(os.environ.get("GTN_RL_STEP_TIMEOUT", "120"))
"""Seconds after which a call that has not come back hangs."""

LARGEST = 1e15
"""Magnitude of rewards and observations at most: with larger ones single precision overflows."""

_SOON = 5.0
"""Seconds after which it is said that an episode without a time limit is still running."""

_LIMIT = (
    "register it with max_episode_steps=..., or wrap it in gymnasium.wrappers.TimeLimit(env, steps)"
)
_TOO_LARGE = f"it must be finite, and within +-{LARGEST:g}; scale it in a wrapper"
_NUMBERS = (int, float, np.integer, np.floating, np.bool_)
_FLAGS = (bool, np.bool_, int)
_log = logging.getLogger("gtn_rl")
_exit = os._exit
_calls: dict[int, Call] = {}
_warned: set[tuple[str, str]] = set()


class _HungError(BaseException):
    """Raised inside code that hangs; not an `Exception`, so that this code does not catch it."""


class Call:
    """Runs a user's code, and turns whatever it does but to return into a `TargetError`."""

    def __init__(self, name: str, where: Callable[[], str] = lambda: "making it") -> None:
        self.name, self.where, self.hangs, self.since = name, where, False, 0.0
        self._process = os.getpid()
        _start_watch()

    def __call__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """What the function returns.

        Raises:
            TargetError: It raised something, or did not return in time.
        """
        thread = threading.get_ident()
        self.since = time.monotonic()
        _calls[thread] = self
        os._exit = self._leave  # type: ignore[assignment]
        try:
            return function(*args, **kwargs)
        except (KeyboardInterrupt, GTNError):
            raise
        except _HungError:
            raise TargetError(self.hung()) from None
        except BaseException as error:
            if not isinstance(error, ImportError | gym.error.Error):
                _log.error("Traceback of the environment:\n%s", _own_traceback(error))
            what = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
            raise TargetError(f"{self.name}, {self.where()}: it raised {what:.500}") from error
        finally:
            os._exit = _exit
            _calls.pop(thread, None)

    def hung(self) -> str:
        """That it hangs, and what to do."""
        return (
            f"{self.name}, {self.where()}: no answer after {TIMEOUT:g} s. If it is slow but well, "
            "set the environment variable GTN_RL_STEP_TIMEOUT to more seconds"
        )

    def _leave(self, code: int) -> NoReturn:
        if os.getpid() != self._process:
            _exit(code)
        print(
            f"{self.name}, {self.where()}: it called os._exit({code})", file=sys.stderr, flush=True
        )
        _exit(2)


class Checked(gym.Wrapper[NDArray[Any], Any, NDArray[Any], Any]):
    """An environment that does what its spaces say, or fails with one line that says where.

    Seeds are taken modulo 2**32: many environments hand them to `numpy.random.seed`. What lies
    outside the declared bounds is warned of once, since it is clipped to them.

    Raises:
        TargetError: It cannot be made; later on: it raised, hangs, never ends, or returned
            something that is not what its spaces say, or not finite.
    """

    def __init__(self, make: Factory, name: str) -> None:
        self._episode, self._age, self._began = 0, 0, 0.0
        self._call = Call(name, self._where)
        super().__init__(self._call(make))
        space = self.observation_space
        assert space.shape is not None
        self._shape, self._dtype = space.shape, np.dtype(space.dtype)
        whole = np.issubdtype(self._dtype, np.integer)
        limits: Any = np.iinfo(self._dtype) if whole else np.finfo(self._dtype)
        self._largest = limits.max if whole else min(LARGEST, float(limits.max))
        self._least = limits.min if whole else -self._largest
        self._low, self._high = space.low, space.high  # type: ignore[attr-defined]
        if not whole:
            # Rounding is no reason to warn.
            self._low = np.clip(_widened(self._low, -1e-5), -self._largest, None)
            self._high = np.clip(_widened(self._high, 1e-5), None, self._largest)
        self._limited = self.env.has_wrapper_attr("_max_episode_steps")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode."""
        self._episode, self._age = self._episode + 1, 0
        seed = None if seed is None else int(seed) % 2**32
        answer = self._call(self.env.reset, seed=seed, options=options)
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._fail(f"it must return (observation, info), it returned {_kind(answer)}")
        self._began = self._call.since
        return self._seen(answer[0]), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Take an action."""
        self._age += 1
        answer = self._call(self.env.step, action)
        if not isinstance(answer, tuple) or len(answer) != 5:
            self._fail(
                "it must return (observation, reward, terminated, truncated, info), it returned "
                + _kind(answer)
            )
        observation, reward, terminated, truncated, _ = answer
        if not isinstance(reward, _NUMBERS):
            if not isinstance(reward, np.ndarray) or reward.size != 1 or reward.dtype == object:
                self._fail(f"the reward must be a number, it is {_kind(reward)}")
            reward = reward.item()
        value = float(reward)
        if not -LARGEST <= value <= LARGEST:
            self._fail(f"the reward is {value:g}: {_TOO_LARGE}")
        if not isinstance(terminated, _FLAGS) or not isinstance(truncated, _FLAGS):
            kinds = f"{_kind(terminated)} and {_kind(truncated)}"
            self._fail(f"terminated and truncated must be true or false, not {kinds}")
        if not self._limited and not terminated and not truncated:
            self._look_at_time()
        return self._seen(observation), value, bool(terminated), bool(truncated), {}

    def _seen(self, observation: Any) -> NDArray[Any]:
        try:
            array = np.asarray(observation)
        except ValueError:
            array = np.empty(0, object)
        fits = array.dtype == self._dtype or np.can_cast(array.dtype, self._dtype, "same_kind")
        if array.shape != self._shape or not fits:
            self._fail(
                f"the observation is {_kind(observation)}, its space says {self._dtype} of shape "
                f"{self._shape}"
            )
        if not ((self._low <= array) & (array <= self._high)).all():
            self._look_at_bounds(array)
        return array

    def _look_at_bounds(self, array: NDArray[Any]) -> None:
        fits = (self._least <= array) & (array <= self._largest)
        if not fits.all():
            index = int(fits.argmin())
            self._fail(f"observation {index} is {array[index]:g}: {_TOO_LARGE}")
        index = int(((self._low > array) | (array > self._high)).argmax())
        space: Any = self.observation_space
        self._warn(
            "bounds",
            f"observation {index} is {array[index]:g}, its space says {space.low[index]:g} to "
            f"{space.high[index]:g}. Agents see it clipped to these: declare bounds that hold "
            "(-np.inf and np.inf if there are none), or scale it in a wrapper",
        )
        self._low = np.full(self._shape, self._least)
        self._high = np.full(self._shape, self._largest)

    def _where(self) -> str:
        if not self._episode:
            return "making it"
        if not self._age:
            return f"reset before episode {self._episode}"
        return f"step {self._age} of episode {self._episode}"

    def _look_at_time(self) -> None:
        if self._age >= LONGEST:
            self._fail(f"the episode does not end, and there is no time limit: {_LIMIT}")
        if self._call.since - self._began > _SOON:
            self._warn("time", f"the episode goes on, and there is no time limit: {_LIMIT}")

    def _warn(self, kind: str, what: str) -> None:
        if (self._call.name, kind) not in _warned:
            _warned.add((self._call.name, kind))
            message = f"{self._call.name}, {self._where()}: {what}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _fail(self, what: str) -> NoReturn:
        raise TargetError(f"{self._call.name}, {self._where()}: {what}")


def _widened(bound: NDArray[Any], share: float) -> NDArray[Any]:
    return bound + share * np.maximum(np.abs(np.where(np.isfinite(bound), bound, 0)), 1)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _own_traceback(error: BaseException) -> str:
    """The traceback of an error without the frames between this module and the user's code."""
    trace, libraries = error.__traceback__, (os.path.dirname(gym.__file__), __file__)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(libraries):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


@cache
def _start_watch() -> None:
    """Look from a thread for calls that hang, and end them where signals can."""
    alarm = getattr(signal, "SIGALRM", None)
    main = threading.main_thread()

    def ring(*_: object) -> None:
        call = _calls.get(threading.get_ident())
        if call is not None and call.hangs:
            raise _HungError

    def watch() -> None:
        while True:
            time.sleep(min(TIMEOUT / 4, 1.0))
            for thread, call in list(_calls.items()):
                if call.hangs or time.monotonic() - call.since <= TIMEOUT:
                    continue
                call.hangs = True
                if ours and thread == main.ident:
                    signal.pthread_kill(thread, alarm)  # type: ignore[arg-type]
                # Said here too: code outside Python cannot be ended, nor can other threads.
                _log.error(call.hung())

    ours = alarm is not None and threading.current_thread() is main
    ours = ours and signal.getsignal(alarm) is signal.SIG_DFL  # type: ignore[arg-type]
    if ours:
        signal.signal(alarm, ring)  # type: ignore[arg-type]
    threading.Thread(target=watch, daemon=True).start()
