"""The synthetic environments that come with the package, one folder each."""

from __future__ import annotations

import json
from pathlib import Path


def folders() -> dict[str, Path]:
    """Folders of the shipped environments by the id of their target."""
    here = Path(__file__).parent
    return {path.parent.name: path.parent for path in sorted(here.glob("*/config.json"))}


def table() -> str:
    """The shipped environments as a Markdown table: target, size, cost, scores."""
    lines = [
        "| name | target | parameters | KiB | real steps | seconds | stock agents: IQM (steps) |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, folder in folders().items():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        training, results = config["training"], config["results"]
        scores = ", ".join(
            f"{row['algorithm'].upper()} {row['iqm']:.1f} ({row['steps']:,})"
            for row in results.get("compare", [])
        )
        weights = folder / "model.safetensors"
        lines.append(
            f"| gtn_rl/{name} | {config['target']} | {config['parameters']:,} | "
            f"{weights.stat().st_size / 1024:.1f} | {training['real_steps']:,} | "
            f"{training['seconds']:.0f} | {scores or 'not measured'} |"
        )
    return "\n".join(lines)
