"""MNIST, Fashion-MNIST and CIFAR-10 from files in a local folder, read by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.supervised.data import Data, from_arrays

_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def load_vision(name: str, folder: Path | None) -> Data:
    """Inputs `[N, channels, height, width]` of both of torchvision's parts; nothing is downloaded.

    Args:
        name: `"mnist"`, `"fashion-mnist"` or `"cifar10"`.
        folder: As `torchvision.datasets` lays it out, e.g. with `MNIST/raw` in it.

    Raises:
        UsageError: No folder, or not these files in it.
        MissingExtraError: torchvision is not installed.
    """
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another torch.
        raise MissingExtraError(
            f"{name} needs torchvision: pip install 'gtn_rl[vision]'"
        ) from error
    if folder is None:
        raise UsageError(f"{name} is read from local files: give their folder with --data-folder")
    kind = getattr(datasets, _CLASSES[name])
    try:
        parts = [kind(folder, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise UsageError(
            f"{folder} does not hold {_CLASSES[name]} as torchvision keeps it: put its files there"
        ) from error
    arrays = [np.asarray(part.data) for part in parts]
    # MNIST's images have no channel axis, CIFAR's have it last.
    images = [a[:, None] if a.ndim == 3 else a.transpose(0, 3, 1, 2) for a in arrays]
    labels = [np.asarray(part.targets) for part in parts]
    return from_arrays(name, images[0], labels[0], test=(images[1], labels[1]))
