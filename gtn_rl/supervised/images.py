"""Images from files: IDX, CIFAR-10's batches, or a folder or zip file of one folder per class."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from gtn_rl.errors import MissingExtraError, UsageError
from gtn_rl.supervised.data import Data, from_arrays

Array = np.ndarray[Any, np.dtype[np.uint8]]
Pair = tuple[Array, Array]

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")
_LARGEST = 128
_GREY = ("1", "L", "LA", "I;16")


def load_images(path: Path, size: int | None = None, *, progress_bar: bool = False) -> Data:
    """Inputs `[N, channels, height, width]`; nothing is downloaded.

    Args:
        path: A folder with the four files of MNIST or one of its like (`train-images-idx3-ubyte`
            and so on, plain or `.gz`), with CIFAR-10's `data_batch_1` and so on, or a folder or zip
            file with a folder of images for each class, `cats/a.png`. Those may be in folders
            `train` and `test` (or `val`); if not, a share of the images is the test set.
        size: Height and width to which images in class folders are scaled; what is beyond a
            square is cut off. Needed where they differ, or have more than 128 pixels a side.
        progress_bar: Whether to show how many of them have been read.

    Raises:
        UsageError: Nothing of that kind, a file that cannot be read, or images that do not go
            together.
        MissingExtraError: Pillow, which reads images in class folders, is not installed.
    """
    train: Pair
    test: Pair | None
    if path.is_dir() and (files := _named(path, "train-images*idx3-ubyte*")):
        train, test = (_idx_part(files[0].parent, part) for part in ("train", "t10k"))
    elif path.is_dir() and (files := _named(path, "data_batch_1")):
        train = _cifar([files[0].with_name(f"data_batch_{number}") for number in range(1, 6)])
        test = _cifar([files[0].with_name("test_batch")])
    elif path.is_dir():
        names = {
            file.relative_to(path).as_posix() + "/" * file.is_dir(): file
            for file in sorted(path.rglob("*"))
            if file.is_dir() or file.is_file()
        }
        train, test = _class_folders(
            path, list(names), lambda name: names[name].read_bytes(), size, progress_bar
        )
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            train, test = _class_folders(
                path, sorted(archive.namelist()), archive.read, size, progress_bar
            )
    else:
        raise UsageError(f"{path} is neither a folder nor a zip file: give one with images")
    return from_arrays(path.stem, *train, test=test)


def _named(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.rglob(pattern))
    if len({file.parent for file in found}) > 1:
        raise UsageError(
            f"{folder} holds several data sets: give the folder of one, such as {found[0].parent}"
        )
    return found


def _idx_part(folder: Path, part: str) -> Pair:
    return _idx(folder, f"{part}-images*idx3-ubyte*")[:, None], _idx(
        folder, f"{part}-labels*ubyte*"
    )


def _idx(folder: Path, pattern: str) -> Array:
    """The array in an IDX file: two zeros, type, axes, their lengths as four bytes each, data."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise UsageError(f"{folder} holds no {pattern}: all four files of the data set are needed")
    try:
        content = files[0].read_bytes()
        if files[0].suffix == ".gz":
            content = gzip.decompress(content)
        axes = content[3]
        shape = np.frombuffer(content, ">i4", axes, 4)
        if content[:3] != b"\0\0\x08" or len(content) != 4 + 4 * axes + shape.prod():
            raise ValueError
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (ValueError, IndexError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{files[0]} is no whole IDX file of bytes: get it again") from error


class _Arrays(pickle.Unpickler):
    """Reads arrays and builtin containers alone: a pickle could run anything."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"holds {module}.{name}")


def _cifar(files: list[Path]) -> Pair:
    parts = []
    for file in files:
        try:
            with file.open("rb") as stream:
                content = _Arrays(stream, encoding="bytes").load()
            parts.append((content[b"data"].reshape(-1, 3, 32, 32), content[b"labels"]))
        except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError, AttributeError,
                TypeError) as error:  # fmt: skip
            raise UsageError(f"{file} is no batch of CIFAR-10's: get it again") from error
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _class_folders(
    path: Path, names: list[str], read: Any, size: int | None, progress_bar: bool
) -> Iterator[Any]:
    """Both parts, the second None if no folder is called test; classes in order of their names."""
    images: dict[bool, list[tuple[str, str]]] = {False: [], True: []}
    folders: set[str] = set()
    for name in names:
        file = PurePosixPath(name)
        hidden = any(part.startswith((".", "__")) for part in file.parts)
        if hidden or name.endswith("/") or file.suffix.lower() not in _ENDINGS:
            if name.endswith("/") and not hidden:
                folders.add(file.as_posix())
            continue
        label, split = file.parent.name, file.parent.parent.name.lower()
        if label.lower() in ("", *_TRAIN, *_TEST):
            raise UsageError(f"{path}: {name} is in no folder of a class: move it into one")
        images[split in _TEST].append((name, label))
    used = {parent.as_posix() for part in images.values() for name, _ in part
            for parent in PurePosixPath(name).parents}  # fmt: skip
    classes = sorted({label for _, label in images[False]})
    if empty := sorted(folders - used):
        raise UsageError(f"{path}: {empty[0]} holds no image: remove it, or put some in it")
    if len(classes) < 2:
        raise UsageError(
            f"{path} holds too few classes to train with ({len(classes)}): two or more folders of "
            f"images are needed"
        )
    if unknown := sorted({label for _, label in images[True]} - set(classes)):
        raise UsageError(f"{path}: class {unknown[0]} has images to test with and none to train")
    first: list[Any] = []
    for part in (images[False], images[True]):
        bar = tqdm(part, "reading images", disable=not progress_bar, delay=1, leave=False)
        arrays = [_image(path, name, read, size, first) for name, _ in bar]
        labels = np.array([classes.index(label) for _, label in part])
        yield (np.stack(arrays), labels) if part else None


def _image(path: Path, name: str, read: Any, size: int | None, first: list[Any]) -> Array:
    """One image `[channels, height, width]`, which must be as the `first`, `(shape, name)`, is."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("images need Pillow: pip install 'gtn_rl[images]'") from error
    try:
        with Image.open(io.BytesIO(read(name))) as opened:
            image = opened.convert("L" if opened.mode in _GREY else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, zipfile.BadZipFile, zlib.error,
            Image.DecompressionBombError) as error:  # fmt: skip
        raise UsageError(
            f"{path}: {name} is no image that can be read: mend or remove it"
        ) from error
    if size is None and max(image.size) > _LARGEST:
        raise UsageError(
            f"{path}: {name} is {image.width}x{image.height}: give the size to scale to, e.g. "
            f"--size 32"
        )
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size))
    array = np.asarray(image)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if not first:
        first += [array.shape, name]
    if len(array) != first[0][0]:
        grey, colour = (name, first[1]) if len(array) == 1 else (first[1], name)
        raise UsageError(f"{path}: {grey} is grey and {colour} in colour: make all images alike")
    if array.shape != first[0]:
        raise UsageError(
            f"{path}: {first[1]} is {first[0][2]}x{first[0][1]} and {name} "
            f"{array.shape[2]}x{array.shape[1]}: give the size to scale to, e.g. --size 32"
        )
    return array
