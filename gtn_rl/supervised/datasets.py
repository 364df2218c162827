"""Known tasks of classification, and images from local files, by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from gtn_rl import bounds
from gtn_rl.errors import MissingExtraError, UsageError, did_you_mean
from gtn_rl.supervised.data import Data, from_arrays
from gtn_rl.supervised.images import load_images


def _digits() -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "digits need scikit-learn: pip install 'gtn_rl[supervised]'"
        ) from error
    content = load_digits()
    return from_arrays("digits", content.images[:, None], content.target)


def _mnist1d() -> Data:
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise MissingExtraError(
            "mnist1d needs its package: pip install 'gtn_rl[supervised]'"
        ) from error
    with _global_randomness_kept():
        content = make_dataset(get_dataset_args())
    return from_arrays(
        "mnist1d", content["x"][:, None], content["y"],
        test=(content["x_test"][:, None], content["y_test"]),
    )  # fmt: skip


@contextmanager
def _global_randomness_kept() -> Iterator[None]:
    # make_dataset seeds the global generators of Python, NumPy and torch.
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


DATASETS: dict[str, Callable[[], Data]] = {"digits": _digits, "mnist1d": _mnist1d}
"""What loads each task that comes with a package."""


def load(source: str | Path, size: int | None = None, *, progress_bar: bool = False) -> Data:
    """A known task, or images from local files.

    Args:
        source: One of `DATASETS`, or a folder or zip file as `images.load_images` reads it.
        size: Height and width to which images in class folders are scaled.
        progress_bar: Whether to show how many of them have been read.

    Raises:
        UsageError: Neither, files that cannot be read, or a size that cannot be meant.
        MissingExtraError: The package that reads it is not installed.
    """
    if size is not None:
        bounds.within("size", size, bounds.Pixels)
    if str(source) in DATASETS:
        return DATASETS[str(source)]()
    if not Path(source).exists():
        raise UsageError(
            f"no data set {str(source)!r}: use one of {', '.join(DATASETS)}, or a folder or zip "
            f"file of images.{did_you_mean(str(source), DATASETS)}"
        )
    return load_images(Path(source), size, progress_bar=progress_bar)
