"""Random flips and shifts of images, through which gradients pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gtn_rl.errors import UsageError


def augmented(
    inputs: Tensor, shape: Sequence[int], *, flip: bool, crop: int, generator: torch.Generator
) -> Tensor:
    """Flat images `[..., F]`, each shifted and maybe mirrored by itself; what comes in is 0.

    Raises:
        UsageError: Not the shape of an image.
    """
    if not flip and not crop:
        return inputs
    if len(shape) != 3:
        raise UsageError(f"flip and crop need images, not inputs of shape {tuple(shape)}")
    channels, height, width = shape
    images = F.pad(inputs.reshape(-1, *shape), (crop,) * 4).flatten(2)
    rows, columns = (
        torch.arange(size) + torch.randint(2 * crop + 1, (len(images), 1), generator=generator)
        for size in (height, width)
    )
    if flip:
        mirrored = torch.rand(len(images), 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    index = (rows[:, :, None] * (width + 2 * crop) + columns[:, None, :]).view(
        -1, 1, height * width
    )
    return images.gather(2, index.expand(-1, channels, -1)).view(inputs.shape)
