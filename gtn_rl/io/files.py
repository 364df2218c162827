"""Files: written whole or not at all, by one process at a time, and read without waiting."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gtn_rl.errors import ArtifactError, UsageError

LOCK = ".lock"
"""File in the folder of a run that the process at work in it holds."""

_UNFINISHED = ".unfinished"


def is_leftover(path: Path) -> bool:
    """Whether a file is a lock, or one that a kill left unfinished: it holds nothing of worth."""
    return path.name.endswith((LOCK, _UNFINISHED))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what the operating system has against a file that is written.

    Raises:
        ArtifactError: It has something, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror or error}. What was written before is kept; "
            "mend that, or choose another folder"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends without an error.

    Raises:
        ArtifactError: The file cannot be written.
    """
    # The name is made here: tempfile's files need a chmod, which some file systems refuse.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_UNFINISHED}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file's content, whole or not at all.

    Raises:
        ArtifactError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace the file's content by `text`, whole or not at all.

    Raises:
        ArtifactError: The file cannot be written.
    """
    write_bytes(path, text.encode())


@contextmanager
def locked(folder: Path | None, file: str = "") -> Iterator[None]:
    """Keep a folder for this process, however it ends, and sweep what kills left.

    Args:
        folder: Made if missing; nothing is kept without one.
        file: Name of the file in it that is kept, where others may write others.

    Raises:
        UsageError: Another process is at work in it.
        ArtifactError: It cannot be written to.
    """
    if folder is None:
        yield
        return
    own = f".{file}" if file else ""
    with writing(folder / f"{own}{LOCK}"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f"{own}{LOCK}", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle, folder / file)
        for path in folder.glob(f"{own or '.*'}.*{_UNFINISHED}"):
            path.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    # The operating system frees these locks when a process ends, a killed one too.
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise UsageError(
                f"another process is at work in {path}: wait for it, or choose another place"
            ) from error
        warnings.warn(
            f"{path} cannot be locked ({error.strerror}): start no second run in it", stacklevel=2
        )


@contextmanager
def opened(path: Path, most: int) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file to read, and its size: never a FIFO or device, which could wait for ever.

    Raises:
        OSError: It is not there or cannot be opened.
        ValueError: It is something else, or larger.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=opener) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > most:
            raise ValueError(f"{path.name} has {status.st_size:,} bytes, more than {most:,}")
        yield file, status.st_size
