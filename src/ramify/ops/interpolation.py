"""Channel-wise interpolation: features of one width brought to another (Dong and Yang, 2019, arXiv:1905.09717)."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolation_matrix(given: int, wanted: int, like: Tensor) -> Tensor:
    """Return the matrix P (wanted, given) by which channels are interpolated, an adaptive average over channels.

    Row o holds the mean of the channels from ⌊o·given/wanted⌋ to below ⌈(o + 1)·given/wanted⌉. Of equal numbers it is
    the identity.

    Args:
        given: Number of channels that are there.
        wanted: Number of channels that are wanted.
        like: Of the dtype and on the device that the matrix shall have.

    Example:
        >>> import torch
        >>> interpolation_matrix(4, 3, torch.ones(())) @ torch.tensor([1.0, 2.0, 3.0, 4.0])
        tensor([1.5000, 2.5000, 3.5000])
    """
    rows = torch.arange(wanted, device=like.device)[:, None]
    first, end = rows * given // wanted, -(-(rows + 1) * given // wanted)
    channels = torch.arange(given, device=like.device)
    return ((channels >= first) & (channels < end)).to(like.dtype) / (end - first).to(like.dtype)


def interpolate_channels(x: Tensor, channels: int) -> Tensor:
    """Bring features (B, C, …) to another number of channels: (B, channels, …)."""
    if x.shape[1] == channels:
        return x
    return (interpolation_matrix(x.shape[1], channels, x) @ x.flatten(2)).view(len(x), channels, *x.shape[2:])
