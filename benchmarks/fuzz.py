"""Mutated artifacts and checkpoints: each loads, or is refused in one line, in 1 s and 200 MB.

    python benchmarks/fuzz.py [--cases 10000] [--seed 0]

Mutates the bytes of either file and the structure of `config.json` of one artifact of each kind,
then loads it, prints its card and takes a step in it; and bytes and structure of the checkpoints of
a run, then goes on with it as far as its stage. Fails on any exception but the library's own.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro

import gtn_rl
from gtn_rl import config as settings
from gtn_rl import supervised
from gtn_rl.envs.gym import SyntheticGymEnv
from gtn_rl.envs.targets import describe
from gtn_rl.errors import GTNError
from gtn_rl.io import checkpoint
from gtn_rl.io.artifact import read_config
from gtn_rl.io.card import render_card
from gtn_rl.io.kinds import check
from gtn_rl.io.runlog import RunLog
from gtn_rl.modes.train import stages_of
from gtn_rl.run import Run
from gtn_rl.stages.base import untrained
from gtn_rl.state import State, progress_of
from gtn_rl.supervised.teachers import make_teacher

SECONDS, MEGABYTES = 1.0, 200
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 10**7, 2 * 10**7, 2**63, 10**400, -(2**70), 0.5, -1.5, 1e308,
    "", "x", "inf", "nan", "evil:X-v0", "\ud800", "\x1b[2J", "a\nb", "x" * 10_000, [], {}, [[]],
    [2 * 10**7], [1] * 5_000, {"n": 10**7, "start": 0}, {"n": 2, "start": 2**63}, "int8", "float16",
]  # fmt: skip
TASK = describe("CartPole-v1")
CONFIG = settings.TrainConfig(
    steps=64, hidden=(4,), search=settings.Search(candidates=4),
    pretrain=settings.Pretrain(real_steps=11_000, copies=4),
    outer=settings.Outer(steps=1, every=1, population=4, copies=1),
    learners=settings.Learners(kinds=("1xstock-a2c@tanh:4/64",), judges=1, episodes=1),
).for_space(TASK.action_space)  # fmt: skip
TEXTS = [
    b"", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"1e999", b"9" * 5_000,
    b"null", b"\xff\xfe", b'"' + b"x" * 2**22 + b'"',
]  # fmt: skip


def originals(folder: Path) -> list[Path]:
    """An artifact of each kind."""
    env = gtn_rl.from_pretrained("gtn_rl/CartPole-v1")
    box = gymnasium.make("Pendulum-v1")
    long = gtn_rl.SyntheticEnv(box.observation_space, box.action_space, horizon=9, hidden=(4,))
    pairs = gtn_rl.Pairs(env.observation_space, env.action_space)
    data = supervised.from_arrays("blobs", torch.randn(100, 4).numpy(), [i % 3 for i in range(100)])
    config = supervised.SupervisedConfig(noise=4, hidden=8, inner_steps=2)
    teacher = make_teacher(data, config, torch.Generator().manual_seed(0))
    results = read_config("gtn_rl/CartPole-v1")
    kept = {name: results[name] for name in ("training", "results")}
    return [
        gtn_rl.save_pretrained(env, folder / "environment", **kept),
        gtn_rl.save_pretrained(long, folder / "long"),
        gtn_rl.save_reward(gtn_rl.RewardNetwork.of(env), folder / "reward", **kept),
        gtn_rl.save_pairs(pairs, folder / "pairs"),
        supervised.save_teacher(teacher, folder / "teacher", data, config, results={"test": 90.0}),
    ]


def checkpoints(folder: Path) -> list[bytes]:
    """Of each stage of a small run, in it and at its end."""
    kept, save = [], checkpoint.save

    def keep(place: Path, *rest: Any) -> None:
        save(place, *rest)
        kept.append((place / "checkpoint.pt").read_bytes())

    checkpoint.save = keep  # type: ignore[assignment]
    try:
        gtn_rl.train("CartPole-v1", folder, CONFIG, progress_bar=False)
    finally:
        checkpoint.save = save
    return kept


def mutate_checkpoint(data: bytes, folder: Path, source: random.Random) -> None:
    """Leave a checkpoint whose bytes are wrong, or one that is well formed and says otherwise."""
    path = folder / "checkpoint.pt"
    if source.random() < 0.2:
        path.write_bytes(mutate_bytes(data, source))
        return
    content = torch.load(io.BytesIO(data), weights_only=True)
    for name in ("digest", "target", "config"):
        del content[name]
    tensors = [torch.zeros(0), torch.zeros(3, 5), torch.tensor(1), torch.full((4,), torch.inf)]
    mutate(content, source, [*ODD, *tensors])
    try:
        checkpoint.save(folder, "CartPole-v1", CONFIG, content)
    except GTNError:  # It has numbers that are not finite.
        path.write_bytes(data)


def resume(folder: Path) -> None:
    """Go on with a run as far as the stage that it stands in."""
    content = checkpoint.load(folder, "CartPole-v1", CONFIG)
    with RunLog(None, progress_of(content["progress"]).rows, progress=False) as log:
        run = Run(State(untrained(TASK, CONFIG)), {"real_steps": 1}, log, lambda *_: None)
        run.resume(content)
        if content["stage"] is None:
            return
        for stage in run.remaining(stages_of("CartPole-v1", TASK, CONFIG, run.state.teacher)):
            run.enter(stage)
            run.leave(stage)
            break


def mutate_bytes(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 8))):
        # The header of the weights is at their start.
        at = source.randrange(source.choice((8, 200, len(changed) or 1)) or 1) % (len(changed) or 1)
        what = source.randrange(4)
        if what == 0 and changed:
            changed[at] = source.randrange(256)
        elif what == 1:
            changed[at:at] = source.randbytes(source.choice((1, 4, 100)))
        elif what == 2:
            del changed[at : at + source.choice((1, 4, 100, len(changed)))]
        elif changed:
            changed[at] ^= 1 << source.randrange(8)
    return bytes(changed)


def mutate(content: Any, source: random.Random, odd: list[Any]) -> None:
    """Change some places in nested lists and tables."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    for _ in range(source.choice((1, 1, 2, 4))):
        places.clear()
        walk(content)
        if not places:
            return
        where, key = source.choice(places)
        what = source.randrange(4)
        if what == 0:
            del where[key]
        elif what == 1 and isinstance(where, dict):
            where[source.choice(("kind", "n", "target", "x"))] = copy.deepcopy(source.choice(odd))
        elif what == 2:
            other = source.choice(places)
            where[key] = copy.deepcopy(other[0])
        else:
            where[key] = copy.deepcopy(source.choice(odd))


def use(folder: Path) -> None:
    """All that is done with a stranger's artifact before an agent is trained."""
    config = check(folder)
    render_card(config).encode()
    if config["kind"] == "environment":
        env = SyntheticGymEnv(gtn_rl.from_pretrained(folder))
        env.reset(seed=0)
        env.step(env.action_space.sample())
    elif config["kind"] == "teacher":
        supervised.load_teacher(folder)
    else:
        (gtn_rl.load_pairs if config["kind"] == "pairs" else gtn_rl.load_reward)(folder)


def fuzz(*, cases: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Try so many mutated artifacts and checkpoints; what came of it."""
    usable, slowest, grown = 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as name:
        made = originals(Path(name, "made"))
        runs = checkpoints(Path(name, "run"))
        folder = Path(name, "mutated")
        folder.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for case in range(cases):
            source = random.Random(f"{seed}-{case}")
            number = source.randrange(len(made) + 1)
            if number == len(made):
                mutate_checkpoint(source.choice(runs), folder, source)
                what = resume
            else:
                mutate_artifact(made[number], folder, source)
                what = use
            start = time.process_time()
            try:
                what(folder)
                usable += 1
            except GTNError as error:
                lines, size = str(error).splitlines(), len(str(error))
                if len(lines) != 1 or size > 1_000:
                    raise AssertionError(f"seed {seed}, case {case}: {error}") from error
            except Exception as error:
                raise AssertionError(f"seed {seed}, case {case}") from error
            took = time.process_time() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            assert took < SECONDS, f"seed {seed}, case {case}: {took:.2f} s"
            assert grown < MEGABYTES, f"seed {seed}, case {case}: {grown:.0f} MB"
            slowest = max(slowest, took)
    return {"usable": usable, "slowest_s": slowest, "grown_mb": round(grown)}


def mutate_artifact(original: Path, folder: Path, source: random.Random) -> None:
    """Leave an artifact whose bytes or whose `config.json` are wrong."""
    files = {path.name: path.read_bytes() for path in original.iterdir()}
    kind = source.randrange(8)
    if kind < 4:
        content = json.loads(files["config.json"])
        mutate(content, source, ODD)
        files["config.json"] = json.dumps(content).encode()
    elif kind == 4 and source.random() < 0.1:
        files["config.json"] = source.choice(TEXTS)
    else:
        which = source.choice(("config.json", "model.safetensors", "model.safetensors"))
        files[which] = mutate_bytes(files[which], source)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    if source.random() < 0.01:
        os.truncate(folder / "model.safetensors", 2**31)  # All but its start is a hole.


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    print(tyro.cli(fuzz))
