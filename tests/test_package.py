"""What the package promises as a whole."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import gtn_rl
from gtn_rl.errors import GTNError

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists():
    for name in gtn_rl.__all__:
        assert getattr(gtn_rl, name).__doc__
    with pytest.raises(AttributeError):
        gtn_rl.nothing  # noqa: B018


@pytest.mark.parametrize("folder", ["envs", "agents"])
def test_folders_cannot_be_imported_a_second_time(folder):
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"import gtn_rl.{folder}, not {folder}" in done.stderr


def imports(name, files):
    """Modules of ours that one imports: at its top, lazily, for its types, or by its name."""
    for node in ast.walk(ast.parse(files[name].read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names = [str(getattr(node.args[0], "value", ""))]
        for found in names:
            while found and found not in files:
                found = found.rpartition(".")[0]
            if found not in ("", name):
                yield found


def test_no_import_leads_in_a_circle():
    files = {}
    for folder in ("gtn_rl", "envs", "agents"):
        for file in (ROOT / folder).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts if folder == "gtn_rl" else ("gtn_rl", *parts))
            files[module.removesuffix(".__init__")] = file
    order = TopologicalSorter({name: set(imports(name, files)) for name in files}).static_order()
    assert len(list(order)) == len(files) > 80


def test_import_does_not_load_stable_baselines():
    code = (
        "import sys, gtn_rl; print('stable_baselines3' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_missing_extra_is_named(monkeypatch, tmp_path):
    from gtn_rl.errors import MissingExtraError
    from gtn_rl.evaluation.report import figure

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


PAGES = (
    "README.md", "docs/quickstart.md", "docs/own_environment.md", "docs/evolution.md",
    "docs/mdp.md", "docs/distillation.md",
)  # fmt: skip


# What README's first example prints is its promise.
PRINTED = {
    "print(total)": lambda text: float(text.split()[-1]) >= 450,
    "print(score)": lambda text: float(text.split()[-1]) >= 400,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    """In their order and one folder: later ones may use what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    for code in python_blocks(page):
        exec(compile(code, page, "exec"), {"__name__": "snippet"})
        printed = capsys.readouterr().out
        for line, right in PRINTED.items():
            if line in code:
                assert right(printed), printed


def test_links_and_paths_in_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        text = page.read_text()
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == [], page
        if page.name != "research_log.md":
            paths = re.findall(
                r"`((?:gtn_rl|agents|envs|tests|benchmarks|examples)/[\w/]+\.py)", text
            )
            assert [path for path in paths if not (ROOT / path).exists()] == [], page


# What each example says last, and the least that it must reach.
EXAMPLES = {
    "train_stock_agent": 400.0, "plain_loop": 300.0, "learned_reward": 400.0, "own_classifier": 85.0
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_reach_what_they_promise(name):
    program = ROOT / "examples" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    said = done.stdout.strip().splitlines()[-1]
    assert float(re.search(r": ([\d.]+)", said).group(1)) >= EXAMPLES[name], said


def test_every_example_is_short():
    for example in ROOT.glob("examples/*.py"):
        if example.stem != "my_env":
            assert len(example.read_text().splitlines()) < 40, example


def test_messages_are_one_short_line():
    assert str(GTNError("a\n  b\r\n\n c")) == "a b c"
    assert str(GTNError("x" * 1_000)) == "x" * 1_000
    assert str(GTNError("a" * 700 + "b" * 999 + "c" * 250)) == f"{'a' * 700} ... {'c' * 250}"
