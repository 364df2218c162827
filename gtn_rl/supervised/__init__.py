"""Teachers of classifiers: the original Generative Teaching Network (Such et al. 2020).

A generator makes the data of a classifier's whole training and is trained by differentiating
through it, in the same outer loop as synthetic environments.
"""

from __future__ import annotations

from gtn_rl.supervised.artifact import load_teacher, save_teacher, saved_task
from gtn_rl.supervised.config import SupervisedConfig
from gtn_rl.supervised.data import Data, from_arrays, from_torch
from gtn_rl.supervised.datasets import DATASETS, load
from gtn_rl.supervised.evaluate import final_accuracies
from gtn_rl.supervised.teachers import TEACHERS
from gtn_rl.supervised.train import train

__all__ = [
    "DATASETS",
    "TEACHERS",
    "Data",
    "SupervisedConfig",
    "final_accuracies",
    "from_arrays",
    "from_torch",
    "load",
    "load_teacher",
    "save_teacher",
    "saved_task",
    "train",
]
