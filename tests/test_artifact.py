import json

import pytest
import torch

import gtn_rl
from gtn_rl.envs.presentation import Phase, decode
from gtn_rl.errors import ArtifactError
from gtn_rl.io.artifact import read_config


def save(env, folder):
    return gtn_rl.save_pretrained(env, folder, training={"real_steps": 12, "seconds": 3.5})


def test_round_trip_keeps_everything(env, tmp_path):
    loaded = gtn_rl.from_pretrained(save(env, tmp_path / "a"))
    assert loaded.observation_space == env.observation_space
    assert loaded.action_space == env.action_space
    assert (loaded.target, loaded.hidden, loaded.horizon) == ("CartPole-v1", (8,), 1)
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


def test_config_is_strict_json(env, tmp_path):
    text = (save(env, tmp_path / "a") / "config.json").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


def test_missing_artifact_suggests_a_shipped_one():
    with pytest.raises(ArtifactError, match="Did you mean 'gtn_rl/CartPole-v1'"):
        gtn_rl.from_pretrained("gtn_rl/CartPol-v1")


def test_folder_without_environment(tmp_path):
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        gtn_rl.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("model.safetensors", b"\x00" * 40),
        ("model.safetensors", None),
    ],
)
def test_corrupt_files_are_named(env, tmp_path, file, content):
    folder = save(env, tmp_path / "a")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(ArtifactError, match="corrupt"):
        gtn_rl.from_pretrained(folder)


def test_weights_of_another_shape_are_corrupt(env, tmp_path):
    folder = save(env, tmp_path / "a")
    config = read_config(folder)
    config["hidden"] = [9]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="corrupt"):
        gtn_rl.from_pretrained(folder)


def test_newer_format_asks_for_an_upgrade(env, tmp_path):
    folder = save(env, tmp_path / "a")
    config = read_config(folder) | {"format_version": 99}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="upgrade"):
        gtn_rl.from_pretrained(folder)


def test_other_target_is_refused(env, tmp_path):
    with pytest.raises(ArtifactError, match="made for CartPole-v1, not for Acrobot-v1"):
        gtn_rl.from_pretrained(save(env, tmp_path / "a"), target="Acrobot-v1")


def test_numbers_that_are_not_finite_are_not_saved(env, tmp_path):
    folder = save(env, tmp_path / "a")
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        env.reward_parameters[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="not finite"):
        save(env, folder)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_failed_write_leaves_the_old_file(tmp_path):
    from gtn_rl.io.files import replacing, write_text

    write_text(tmp_path / "x", "old")

    def half():
        with replacing(tmp_path / "x") as path:
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
    for phases, steps in (((Phase(0.5), Phase()), "7_000"), ((Phase(),), "2_048")):
        timed = gtn_rl.SyntheticEnv(
            env.observation_space, env.action_space, phases=phases, budget=7_000
        )
        card = (gtn_rl.save_pretrained(timed, tmp_path) / "README.md").read_text()
        assert f".learn({steps})" in card
        assert ("taken to last 7,000" in card) == (len(phases) > 1)


@pytest.mark.parametrize("members", [1, 3])
def test_members_are_kept(env, tmp_path, members):
    several = gtn_rl.SyntheticEnv(env.observation_space, env.action_space, members=members)
    assert gtn_rl.from_pretrained(save(several, tmp_path / "a")).members == members


def test_the_older_format_is_refused(env, tmp_path):
    folder = save(env, tmp_path / "a")
    config = read_config(folder) | {"format_version": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="has format 1, this version reads 2"):
        gtn_rl.from_pretrained(folder)
