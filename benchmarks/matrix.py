"""The tests with the oldest and the newest versions of what the library needs.

Usage: python benchmarks/matrix.py [--only oldest] [tests/test_faces.py ...]

Makes a virtual environment of its own for each row in `.matrix/`, several gigabytes each; rows
whose Python is not on this machine are skipped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROWS = {
    "oldest": ("3.11", "torch==2.8.0 numpy==1.26.0 gymnasium==1.1.0 stable-baselines3==2.9.0"),
    "middle": ("3.12", "torch==2.11.0 numpy==2.2.0 gymnasium==1.2.0 stable-baselines3==2.9.2"),
    "newest": ("3.13", "torch numpy gymnasium stable-baselines3"),
}
ROOT = Path(__file__).parents[1]


def prepared(name: str, version: str, pins: list[str]) -> Path | None:
    """The interpreter of a row's virtual environment, if there is one to make it from."""
    base = f"python{version}"
    try:
        there = subprocess.run([base, "--version"], capture_output=True).returncode == 0
    except OSError:
        there = False
    if not there:
        print(f"{name}: skipped, no {base} on this machine", flush=True)
        return None
    home = ROOT / ".matrix" / name
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([base, "-m", "venv", home], check=True)
    # One resolution, so that nothing else moves what is pinned.
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *pins, "-e", f"{ROOT}[dev]"], check=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS))
    asked, tests = parser.parse_known_args()
    failed = []
    for name in asked.only:
        version, pins = ROWS[name]
        python = prepared(name, version, pins.split())
        if python is None:
            continue
        wanted = [pin.partition("=")[0] for pin in pins.split()]
        listed = "; ".join(f"print('{x}', version('{x}'))" for x in wanted)
        code = f"from importlib.metadata import version; {listed}"
        print(f"{name}: Python {version}", flush=True)
        subprocess.run([python, "-c", code], check=True)
        done = subprocess.run(
            [python, "-m", "pytest", "-q", *tests], cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        failed += [name] if done.returncode else []
    print(f"failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
