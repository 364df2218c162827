"""Processes beside this one, of one thread each, that end when it does."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor

import torch


def make_pool(workers: int) -> ProcessPoolExecutor:
    """So many processes, which end when this one does, however it ends."""
    # Spawned: forked ones hang once torch's thread pool was used.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin)


def unsendable(thing: object) -> str:
    """Why a thing cannot be sent to other processes, or an empty string."""
    try:
        pickle.dumps(thing)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return str(error)
    return ""


def end(pool: ProcessPoolExecutor) -> None:
    """End all processes of a pool, hung and busy ones too."""
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Take one thread, and end when the process that started this one is gone.

    A killed run cannot end its own.
    """
    torch.set_num_threads(1)

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
