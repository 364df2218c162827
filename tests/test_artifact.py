import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from safetensors.torch import load_file

import gtn_rl
from gtn_rl.envs.presentation import Phase, decode
from gtn_rl.envs.reward import RewardNetwork
from gtn_rl.errors import ArtifactError, TargetError, TrainingDivergedError, UsageError
from gtn_rl.io import checkpoint, files
from gtn_rl.io.artifact import read_config
from gtn_rl.io.kinds import check


def save(env, folder):
    return gtn_rl.save_pretrained(env, folder, training={"real_steps": 12, "seconds": 3.5})


def test_artifacts_of_another_kind_are_told_apart(env, tmp_path):
    spaces, target = (env.observation_space, env.action_space), env.target
    pairs = gtn_rl.Pairs(*spaces, target=target)
    kinds = {
        gtn_rl.from_pretrained: gtn_rl.save_pretrained(env, tmp_path / "env"),
        gtn_rl.load_pairs: gtn_rl.save_pairs(pairs, tmp_path / "pairs"),
        gtn_rl.load_reward: gtn_rl.save_reward(
            RewardNetwork(*spaces, target=target), tmp_path / "reward"
        ),
    }
    for load, own in kinds.items():
        load(own)
        assert check(own) == read_config(own)
        for other, folder in kinds.items():
            # A reward is also what an environment has.
            if other is not load and (load, other) != (gtn_rl.load_reward, gtn_rl.from_pretrained):
                with pytest.raises(ArtifactError, match=other.__name__):
                    load(folder)
    for load in (gtn_rl.from_pretrained, gtn_rl.load_pairs):
        with pytest.raises(ArtifactError, match="made for CartPole-v1, not for Acrobot-v1"):
            load(kinds[load], target="Acrobot-v1")
    for load, own in kinds.items():
        (own / "model.safetensors").write_bytes(b"junk")
        for read in (load, check):
            with pytest.raises(ArtifactError, match="corrupt"):
                read(own)
    pairs.wanted.data[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="wanted is not finite"):
        gtn_rl.save_pairs(pairs, tmp_path / "pairs")


@pytest.mark.parametrize("members", [1, 3])
def test_round_trip_keeps_everything(env, tmp_path, members):
    env = env.like(members)
    loaded = gtn_rl.from_pretrained(save(env, tmp_path / "a"))
    assert loaded.observation_space == env.observation_space
    assert loaded.action_space == env.action_space
    assert (loaded.target, loaded.hidden, loaded.horizon) == ("CartPole-v1", (8,), 1)
    assert loaded.members == members
    for name, tensor in env.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_folder_holds_three_files_and_the_card_says_the_cost(env, tmp_path):
    folder = save(env, tmp_path / "a")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    card = (folder / "README.md").read_text()
    assert "CartPole-v1" in card
    assert "real steps | 12" in card


def test_missing_artifact_suggests_a_shipped_one(tmp_path):
    with pytest.raises(ArtifactError, match="Did you mean 'gtn_rl/CartPole-v1'"):
        gtn_rl.from_pretrained("gtn_rl/CartPol-v1")
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        gtn_rl.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": [9]}, "corrupt"),
        ({"format_version": 99}, "upgrade"),
        ({"format_version": 1}, "has format 1, this version reads 2"),
    ],
)
def test_what_this_version_does_not_read_is_refused(env, tmp_path, change, message):
    folder = save(env, tmp_path / "a")
    (folder / "config.json").write_text(json.dumps(read_config(folder) | change))
    with pytest.raises(ArtifactError, match=message):
        gtn_rl.from_pretrained(folder)


def test_numbers_that_are_not_finite_are_not_saved(env, tmp_path):
    folder = save(env, tmp_path / "a")
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        env.reward_parameters[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="not finite"):
        save(env, folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_failed_write_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "x", "old")

    def half():
        with files.replacing(tmp_path / "x") as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert (tmp_path / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_how_lessons_are_shown_over_time_is_kept(lesson, tmp_path, generator):
    loaded = gtn_rl.from_pretrained(save(lesson, tmp_path / "a"))
    assert (loaded.num_phases, loaded.budget, len(loaded.states)) == (2, 2_000, 256)
    noise = torch.randn(1, 5, lesson.noise_size, generator=generator)
    for when in (0.1, 0.49, 0.5, 0.95):
        states = loaded.initial(noise, when)
        assert torch.equal(states, lesson.initial(noise, when))
        assert torch.equal(loaded.lesson(states, when), lesson.lesson(states, when))
    phases = [Phase(**phase) for phase in read_config(tmp_path / "a")["phases"]]
    assert phases == decode(lesson.presentation[0])
    assert ".learn(2_000)" in (tmp_path / "a" / "README.md").read_text()


def test_the_card_says_how_long_a_training_is_taken_for(env, tmp_path):
    for phases in ((Phase(0.5), Phase()), (Phase(),)):
        timed = gtn_rl.SyntheticEnv(
            env.observation_space, env.action_space, phases=phases, budget=7_000
        )
        card = (gtn_rl.save_pretrained(timed, tmp_path) / "README.md").read_text()
        assert ".learn(7_000)" in card
        assert ("taken to last 7,000" in card) == (len(phases) > 1)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": [20_000_000]},
        {"hidden": "32"},
        {"members": 1_000_000},
        {"members": True},
        {"horizon": 0.5},
        {"budget": 10**400},
        {"action_space": {"n": 10_000_000, "start": 0}},
        {"action_space": {"low": ["-inf"], "high": ["inf"], "dtype": "float32"}},
        {"observation_space": {"low": [1.0] * 4, "high": [0.0] * 4, "dtype": "float32"}},
        {"observation_space": {"low": [0] * 4, "high": [1] * 4, "dtype": "O"}},
        {"target": "\x1b[2J"},
        {"target": "\ud800"},
        {"kind": "else"},
        {"training": {"real_steps": "many"}},
        {"results": {"compare": [{}]}},
        {"phases": []},
    ],
)
def test_what_config_says_is_checked_before_anything_is_made(env, tmp_path, change, monkeypatch):
    folder = save(env, tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    monkeypatch.setattr("gtn_rl.io.kinds.SyntheticEnv", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(ArtifactError, match="corrupt") as raised:
        gtn_rl.from_pretrained(folder)
    assert len(str(raised.value).splitlines()) == 1


def loop(path):
    path.symlink_to(path)


ODD = (
    b"", b"{", b"\x00" * 40, b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"NaN",
    b'{"format_version": NaN}', b"\xff", b"9" * 5_000, b"7", b"[]", b" " * 2**22,
)  # fmt: skip


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, loop, lambda p: p.symlink_to("/dev/zero"),
             lambda p: p.symlink_to("/dev/stdin"), *ODD],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_at_once(env, tmp_path, file, make):
    folder = save(env, tmp_path / "a")
    (folder / file).unlink()
    with pytest.raises(ArtifactError, match=r"corrupt|config\.json is missing"):
        gtn_rl.from_pretrained(folder)
    (folder / file).write_bytes(make) if isinstance(make, bytes) else make(folder / file)
    with pytest.raises(ArtifactError, match="corrupt"):
        gtn_rl.from_pretrained(folder)


def test_a_file_that_is_a_hole_takes_no_memory(env, tmp_path):
    folder = save(env, tmp_path / "a")
    for size in (2**27, 2**31):
        os.truncate(folder / "model.safetensors", size)
        with pytest.raises(ArtifactError, match=r"model\.safetensors has"):
            gtn_rl.from_pretrained(folder)


def test_mutated_artifacts_load_or_are_refused_in_one_line(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from fuzz import fuzz

    assert 0 < fuzz(cases=300, seed=7)["usable"] < 300


def test_a_strangers_target_is_not_imported(env, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    env.target = "evil:CartPole-v1"
    folder = save(env, tmp_path / "a")
    with pytest.raises(UsageError, match="--target evil:CartPole-v1"):
        gtn_rl.compare(folder, progress_bar=False)
    with pytest.raises(UsageError, match="does not decide what is imported"):
        gtn_rl.clone_returns(
            gtn_rl.Pairs(env.observation_space, env.action_space, target=env.target)
        )
    with pytest.raises(TargetError, match="imported"):
        gtn_rl.compare(folder, target="evil:CartPole-v1", progress_bar=False)


def test_a_folder_goes_before_a_shipped_environment_without_its_prefix(env, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gtn_rl.from_pretrained("CartPole-v1").hidden == (32,)
    save(env, "CartPole-v1")
    save(env, "gtn_rl/CartPole-v1")
    assert gtn_rl.from_pretrained("CartPole-v1").hidden == (8,)
    assert gtn_rl.from_pretrained("gtn_rl/CartPole-v1").hidden == (32,)
    for name, used in (("CartPole-v1", "./CartPole-v1"), ("Acrobot-v1", "gtn_rl/Acrobot-v1")):
        said = gtn_rl.compare(
            name, algos=("a2c:8",), seeds=1, episodes=1, real=False, progress_bar=False
        )
        assert said.artifact == used


@pytest.mark.integration
def test_what_is_registered_is_found_from_everywhere(env, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(env, "mine")
    gtn_rl.register("mine", "gtn_rl/Moved-v0")
    monkeypatch.chdir("/")
    assert gym.make("gtn_rl/Moved-v0").observation_space == env.observation_space
    many = gym.make_vec(
        gym.spec("gtn_rl/Moved-v0"), num_envs=1, vectorization_mode="async",
        vector_kwargs={"context": "spawn"},
    )  # fmt: skip
    assert many.reset(seed=0)[0].shape == (1, 4)
    many.close()


def test_a_shipped_artifact_loads_to_the_bit_whatever_the_default_type_is():
    folder = Path(gtn_rl.__file__).parent / "zoo" / "Pendulum-v1"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = gtn_rl.from_pretrained("gtn_rl/Pendulum-v1").state_dict()
        gtn_rl.load_reward("gtn_rl/Pendulum-v1")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor)


HOLD = """
import os, pathlib, sys, time
from gtn_rl.io.files import locked, replacing
folder = pathlib.Path(sys.argv[1])
with locked(folder), replacing(folder / "checkpoint.pt") as path:
    path.write_text("half")
    print("ready", flush=True)
    time.sleep(100)
"""


def test_a_folder_is_one_processs_until_it_dies(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    with other:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(UsageError, match="another process is at work"), files.locked(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    with files.locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [files.LOCK]


def test_a_folder_that_cannot_be_locked_is_said(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="start no second run"), files.locked(tmp_path):
        pass


def test_a_full_disk_is_one_line_and_the_old_file_is_kept(env, tmp_path, monkeypatch):
    folder = save(env, tmp_path / "a")
    before = (folder / "model.safetensors").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    # Some file systems refuse it.
    monkeypatch.setattr(os, "chmod", full)
    assert save(env, folder)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        save(env, folder)
    with pytest.raises(ArtifactError, match="No space left on device"):
        checkpoint.save(folder, "X", Settings(), CONTENT)
    assert (folder / "model.safetensors").read_bytes() == before
    assert len(list(folder.iterdir())) == 3
    with pytest.raises(ArtifactError, match="cannot write"):
        files.write_text(folder / "config.json" / "x", "")


@dataclass(frozen=True)
class Settings:
    seed: int = 0


CONTENT = {"progress": {"step": 1}, "state": {"teacher": torch.ones(3)}, "stage": None}


def test_a_checkpoint_of_other_content_is_refused(tmp_path):
    checkpoint.save(tmp_path, "X", Settings(), CONTENT)
    checkpoint.load(tmp_path, "X", Settings())
    saved = torch.load(tmp_path / "checkpoint.pt")
    for other in (
        {"progress": {"step": -1}}, {"state": {"teacher": torch.zeros(3)}}, {"digest": 7},
        {"config": "{}"}, {"stage": torch.ones(2, 2)},
    ):  # fmt: skip
        torch.save(saved | other, tmp_path / "checkpoint.pt")
        with pytest.raises(ArtifactError, match="cannot be read"):
            checkpoint.load(tmp_path, "X", Settings())
    torch.save([1], tmp_path / "list.pt")
    for content in (b"junk", (tmp_path / "list.pt").read_bytes()):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(ArtifactError, match="cannot be read"):
            checkpoint.load(tmp_path, "X", Settings())


def test_a_checkpoint_that_is_not_finite_is_not_written(tmp_path):
    checkpoint.save(tmp_path, "X", Settings(), CONTENT)
    broken = CONTENT | {"state": {"teacher": torch.tensor([1.0, torch.nan])}}
    with pytest.raises(TrainingDivergedError, match="state/teacher is not a number"):
        checkpoint.save(tmp_path, "X", Settings(), broken)
    assert torch.equal(
        checkpoint.load(tmp_path, "X", Settings())["state"]["teacher"], torch.ones(3)
    )


def test_a_run_that_was_killed_before_its_log_starts_and_resumes(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / files.LOCK).touch()
    (tmp_path / ".log.csv.0.unfinished").touch()
    assert checkpoint.prepare(tmp_path, resume=False) == tmp_path
    assert checkpoint.prepare(tmp_path, resume=True) == tmp_path
    (tmp_path / "log.csv").touch()
    assert checkpoint.prepare(tmp_path, resume=True) == tmp_path
    with pytest.raises(UsageError, match="not empty"):
        checkpoint.prepare(tmp_path, resume=False)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint64"])
def test_spaces_of_every_type_are_kept(tmp_path, dtype):
    import numpy as np

    limits = np.iinfo(dtype) if "int" in dtype else np.finfo(min(dtype, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space = gym.spaces.Box(limits.min, limits.max, (2,), dtype)
    env = gtn_rl.SyntheticEnv(space, gym.spaces.Discrete(3, start=-1))
    loaded = gtn_rl.from_pretrained(save(env, tmp_path))
    assert (loaded.observation_space, loaded.action_space) == (space, env.action_space)
