"""The synthetic environments that come with the package, one folder each."""

from __future__ import annotations

from pathlib import Path


def folders() -> dict[str, Path]:
    """Folders of the shipped environments by the id of their target."""
    here = Path(__file__).parent
    return {path.parent.name: path.parent for path in sorted(here.glob("*/config.json"))}
