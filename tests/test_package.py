"""What the package promises as a whole."""

import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import gtn_rl

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists():
    for name in gtn_rl.__all__:
        assert getattr(gtn_rl, name).__doc__
    assert callable(gtn_rl.train)
    assert callable(gtn_rl.compare)
    with pytest.raises(AttributeError):
        gtn_rl.nothing  # noqa: B018


def test_version_agrees():
    assert metadata("gtn_rl")["Version"] == gtn_rl.__version__


@pytest.mark.parametrize("folder", ["envs", "agents"])
def test_folders_cannot_be_imported_a_second_time(folder):
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"import gtn_rl.{folder}, not {folder}" in done.stderr


def test_import_does_not_load_stable_baselines():
    code = (
        "import sys, gtn_rl; print('stable_baselines3' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_missing_extra_is_named(monkeypatch, tmp_path):
    from gtn_rl.errors import MissingExtraError
    from gtn_rl.report import figure

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"gtn_rl\[plots\]"):
        figure(None, tmp_path / "x.png")


def python_blocks(page="README.md"):
    blocks, inside = [], None
    for line in (ROOT / page).read_text().splitlines():
        if line.strip() == "```python":
            inside = []
        elif line.strip() == "```" and inside is not None:
            blocks.append("\n".join(inside))
            inside = None
        elif inside is not None:
            inside.append(line)
    return blocks


def test_pages_have_snippets():
    assert python_blocks()
    assert python_blocks("docs/evolution.md")
    assert python_blocks("docs/mdp.md")


@pytest.mark.parametrize(
    "code",
    [*python_blocks(), *python_blocks("docs/evolution.md"), *python_blocks("docs/mdp.md")],
)
def test_readme_snippet_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
