"""The synthetic environments that come with the package, one folder each."""

from __future__ import annotations

from gtn_rl.io.artifact import read_config
from gtn_rl.io.artifact import shipped as folders

__all__ = ["folders", "table"]


def table() -> str:
    """The shipped environments as a Markdown table: target, size, cost, scores."""
    lines = [
        "| name | target | parameters | KiB | real steps | seconds | stock agents: IQM (steps) |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, folder in folders().items():
        config = read_config(folder)
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
