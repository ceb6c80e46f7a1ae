"""What each kind of operation does with labels: all the rules there are.

Pointwise operations tie the labels that meet; rearrangements are performed on the labels themselves; only what mixes
channels needs more. An operation that is not listed keeps its labels whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.elastic.labels import Call, LabelPass, Rule
from ramify.elastic.ties import NONE, changing, narrowed
from ramify.elastic.trace import Entries, Value


def pointwise(run: LabelPass, call: Call) -> Value | None:
    """Tie entry by entry; a parameter among the operands is used by the labels that it meets."""
    operands = [(x, run.value(x)) for x in call.tensors]
    operands = [(x, v) for x, v in operands if x.numel() > 1 or isinstance(v, Tensor)]
    parameters = [v for _, v in operands if isinstance(v, Entries)]
    if not any(isinstance(v, Tensor) for _, v in operands):
        if len(parameters) < 2:
            return parameters[0] if parameters else None
        operands = [(x, run.planted(v) if isinstance(v, Entries) else v) for x, v in operands]
        parameters = []
    dims = len(call.shape)
    labels, shape = torch.zeros((1,) * dims, dtype=torch.long), torch.Size()
    for x, value in operands:
        if not isinstance(value, Entries):
            met = torch.zeros((1,) * x.dim(), dtype=torch.long) if value is None else value
            labels = run.meet(labels, shape, met, x.shape)
            shape = torch.broadcast_shapes(shape, x.shape)
    for entries in parameters:
        run.trace.uses.append((entries, labels))
    return labels


def same(run: LabelPass, call: Call) -> Value | None:
    """Keep what the first argument has."""
    return run.value(call.args[0])


def copied(run: LabelPass, call: Call) -> Tensor:
    """Write labels over those of the first argument."""
    labels = run.labels(call["src"])
    return labels.view((1,) * (len(call.shape) - labels.dim()) + labels.shape)


def nothing(run: LabelPass, call: Call) -> None:
    """Return something that has no labels: it only looked at shapes."""


def rearranged(run: LabelPass, call: Call) -> Any:
    """Perform the operation on the labels, or on the indices of a parameter."""
    first, rest = call.args[0], call.args[1:]
    if isinstance(first, Tensor):
        value = run.value(first)
        if isinstance(value, Entries):
            indices = [_performed(call, axis.expand(first.shape), rest) for axis in value.axes]
            if isinstance(indices[0], list):
                return [Entries(value.name, axes) for axes in zip(*indices, strict=True)]
            return Entries(value.name, tuple(indices))
        if value is None:
            return unknown(run, call)
        return _performed(call, value.expand(first.shape), rest)
    return _performed(call, [run.labels(x).expand(x.shape) for x in first], rest)


def _performed(call: Call, labels: Tensor | Sequence[Tensor], rest: Sequence[Any]) -> Any:
    if call.name == "constant_pad_nd":
        rest = rest[:1]  # with `NONE`
    dtype = torch.double if call.name in _ONLY_FLOATS else torch.long
    ready = labels.contiguous().to(dtype) if isinstance(labels, Tensor) else [x.to(dtype) for x in labels]
    out = call.func(ready, *rest, **call.kwargs)
    return narrowed(out.long()) if isinstance(out, Tensor) else [narrowed(x.long()) for x in out]


def padded(run: LabelPass, call: Call) -> Any:
    """Pad labels with `NONE` where they change; what is put around a map belongs to its channel and goes with it."""
    x, pads = call.args[:2]
    value = run.value(x)
    if not isinstance(value, Tensor):
        return rearranged(run, call)
    last = x.dim() - 1
    kept = [pad if value.shape[last - at // 2] > 1 else 0 for at, pad in enumerate(pads)]
    return narrowed(F.pad(value, kept, value=NONE)) if any(kept) else value


def chunked(run: LabelPass, call: Call) -> Any:
    """Perform a split into equal parts and tie them part by part, because code usually writes `chunk`."""
    parts = rearranged(run, call)
    if isinstance(parts, list) and isinstance(parts[0], Tensor) and len({x.shape for x in call.out}) == 1:
        for part in parts[1:]:
            run.trace.ties.tie(parts[0], part)
    return parts


def shuffled(run: LabelPass, call: Call) -> Any:
    """Tie the channels at one place of every group, which a shuffle brings together, and perform it."""
    x, groups = call.args[:2]
    line = _line(run, run.labels(x), 1).expand(x.shape[1]).view(groups, -1)
    run.trace.ties.tie(line, line[:1])
    return rearranged(run, call)


def restrided(run: LabelPass, call: Call) -> Value | None:
    """Keep labels where another layout in memory has the shape that was there: pooling ends so."""
    x, labels = call.args[0], run.labels(call.args[0])
    fits = labels.dim() == x.dim() and all(labels.shape[dim] == x.shape[dim] for dim in changing(labels))
    return run.value(x) if call.out is x and fits else unknown(run, call)


def spatial(run: LabelPass, call: Call) -> Tensor:
    """Keep labels that do not change over the places of a map."""
    x = call.args[0]
    labels = run.labels(x)
    places = [dim for dim in changing(labels) if dim > 1]
    return _without(run, labels, places, call.name)


def reduced(run: LabelPass, call: Call) -> Tensor:
    """Keep labels that are constant along what is reduced; what lies along it otherwise stays whole."""
    x = call.args[0]
    dims = _dims(call["dim"], x.dim())
    labels = _without(run, run.labels(x), [dim for dim in changing(run.labels(x)) if dim in dims], call.name)
    if call["keepdim"] or not dims:
        return labels.view(labels.shape[: len(call.shape)])
    return labels.view([size for dim, size in enumerate(labels.shape) if dim not in dims])


def normalized(run: LabelPass, call: Call) -> Tensor:
    """The same for a softmax or a cumulated sum: the shape stays."""
    labels = run.labels(call.args[0])
    dims = _dims(call["dim"], labels.dim())
    return _without(run, labels, [dim for dim in changing(labels) if dim in dims], call.name)


def _without(run: LabelPass, labels: Tensor, mixed: Sequence[int], name: str) -> Tensor:
    if not mixed:
        return labels
    run.keep(labels, run.at(f"{name.strip('_')} over it"))
    return torch.full((1,) * labels.dim(), NONE)


def _dims(dim: Any, count: int) -> set[int]:
    chosen = range(count) if dim is None or dim == [] else dim if isinstance(dim, list | tuple) else [dim]
    return {d % max(count, 1) for d in chosen}


def convolved(run: LabelPass, call: Call) -> Value | None:
    """Label what a convolution puts out; in one of several groups everything is one unit."""
    x, weight, bias, groups, transposed = (call[k] for k in ("input", "weight", "bias", "groups", "transposed"))
    labels = run.labels(x)
    read = _line(run, labels, 1).expand(x.shape[1])
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    area = weight[0, 0].numel()
    if not isinstance(run.value(weight), Entries):
        return unknown(run, call)
    if groups == 1:
        if read.any() and not run.use(weight, in_axis, read, read=True):
            run.keep(read, run.at("its weight is no slice"))
        out = run.fresh(call.shape[1])
        run.use(weight, out_axis, out)
        contracted = read
    else:
        units = _grouped(run, read, groups)
        out = units.repeat_interleave(call.shape[1] // groups)
        run.use(weight, 0, read if transposed else out)
        contracted = torch.full((x.shape[1] // groups,), NONE)
    run.use(bias, 0, out)
    result = out.view(1, -1, *[1] * (x.dim() - 2))
    run.product(result, call.shape, contracted, area, weight)
    return result


def _line(run: LabelPass, labels: Tensor, dim: int) -> Tensor:
    """Return the labels (n,) along one dimension, after tying what lies beside it."""
    line = labels
    for beside in changing(labels):
        if beside != dim % labels.dim():
            line = line.narrow(beside, 0, 1)
    if line is not labels:
        run.trace.ties.tie(labels, line)
        lonely = torch.where(line == NONE, labels, NONE)
        if lonely.any():
            run.keep(lonely, run.at("it lies beside a constant"))
    return run.trace.ties.root[line].flatten()


def _grouped(run: LabelPass, labels: Tensor, groups: int) -> Tensor:
    """Tie labels (n,) within each of some equal groups and return those of the groups (g,)."""
    parts = labels.view(groups, -1)
    units = parts.amax(dim=1, keepdim=True)
    run.trace.ties.tie(parts, units)
    lonely = torch.where((parts == NONE).any(dim=1, keepdim=True), units, NONE)
    if lonely.any():
        run.keep(lonely, run.at("its group has constants"))
    return run.trace.ties.root[units].flatten()


def added_product(run: LabelPass, call: Call) -> Value | None:
    """A product of matrices to which something is added, such as a bias."""
    names = ("batch1", "batch2") if call.name == "baddbmm" else ("mat1", "mat2")
    result = _product(run, call, call[names[0]], call[names[1]])
    bias = call["self"]
    value = run.value(bias)
    if isinstance(value, Entries):
        if isinstance(result, Tensor) and changing(result) == [result.dim() - 1]:
            run.use(bias, -1, result.flatten())
        return result
    if isinstance(value, Tensor) and isinstance(result, Tensor):
        return run.meet(result, call.shape, value, bias.shape)
    return result


def product(run: LabelPass, call: Call) -> Value | None:
    """A product of matrices."""
    return _product(run, call, call["self"], call["mat2"])


def _product(run: LabelPass, call: Call, a: Tensor, b: Tensor) -> Value | None:
    weights = [isinstance(run.value(x), Entries) for x in (a, b)]
    if weights == [False, True]:
        return _linear(run, call, run.labels(a), b, a.shape[-1])
    if weights == [True, False]:
        # Aᵀ: the weight stands on the left, its other axis is put out.
        out = _linear(run, call, run.labels(b).mT, a, b.shape[-2], flipped=True)
        return None if out is None else out.mT
    if weights == [True, True]:
        return unknown(run, call)
    return _attended(run, call, a, b)


def _linear(
    run: LabelPass, call: Call, labels: Tensor, weight: Tensor, length: int, *, flipped: bool = False
) -> Tensor | None:
    shape = call.out.mT.shape if flipped else call.out.shape
    in_axis, out_axis = (-1, -2) if flipped else (-2, -1)
    last = labels.dim() - 1
    rows = [dim for dim in changing(labels) if dim != last]
    if rows and last not in changing(labels):  # another axis is mixed
        run.product(labels, shape, torch.full((length,), NONE), 1, weight)
        return labels
    read = _line(run, labels, last).expand(length)
    if read.any() and not run.use(weight, in_axis, read, read=True):
        run.keep(read, run.at("its weight is no slice"))
        return torch.full((1,) * labels.dim(), NONE)
    entries = run.value(weight)
    assert isinstance(entries, Entries)
    if not list(entries.along(out_axis)):
        return torch.full((1,) * labels.dim(), NONE)
    out = run.fresh(shape[-1])
    run.use(weight, out_axis, out)
    result = out.view(*[1] * last, -1)
    run.product(result, shape, read, 1, weight)
    return result


def _attended(run: LabelPass, call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Tie everything that meets in one entry of a product without a parameter."""
    sides: list[tuple[Tensor, list[int]]] = []
    for x, dim in ((a, -1), (b, -2)):
        labels = run.labels(x)
        if labels.shape[dim] > 1:
            first = labels.amax(dim, keepdim=True)
            run.trace.ties.tie(labels, first)
            constant = run.value(b if x is a else a) is None
            if constant or bool((labels == NONE).any()):
                run.keep(labels, run.at("it meets a constant"))
            labels = run.trace.ties.root[first]
        shape = list(x.shape)
        shape[dim] = 1
        sides.append((labels, shape))
    labels = run.meet(*sides[0], *sides[1])
    run.product(labels, call.out.shape, torch.full((a.shape[-1],), NONE), 1, None)
    return labels


def batch_normed(run: LabelPass, call: Call) -> Tensor:
    """Per-channel uses; the labels stay."""
    labels = run.labels(call["input"])
    line = _line(run, labels, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if line.any():
            run.use(call[name], 0, line)
    return labels


def layer_normed(run: LabelPass, call: Call) -> Tensor:
    """Per-channel uses; the norm is measured over the units that are kept."""
    labels = run.labels(call["input"])
    dims = range(labels.dim() - len(call["normalized_shape"]), labels.dim())
    across = [dim for dim in changing(labels) if dim in dims]
    if not across:
        return labels
    if len(across) > 1:
        return _without(run, labels, across, "layer norm")
    line = _line(run, labels, across[0])
    for name in ("weight", "bias"):
        run.use(call[name], across[0] - labels.dim(), line)
    run.measured(line)
    return labels


def group_normed(run: LabelPass, call: Call) -> Tensor:
    """As a layer norm with one group, else as a grouped convolution."""
    labels, groups = run.labels(call["input"]), call["group"]
    line = _line(run, labels, 1).expand(call["C"])
    if groups > 1:
        _grouped(run, line, groups)
    elif line.any():
        run.measured(line)
    for name in ("weight", "bias"):
        if line.any():
            run.use(call[name], 0, line)
    return labels


def looked_up(run: LabelPass, call: Call) -> Value | None:
    """Rows of a table: a rearrangement of the table's entries."""
    table, places = call["weight"], call["indices"]
    value = run.value(table)
    if not isinstance(value, Entries):
        return unknown(run, call)
    return Entries(value.name, tuple(narrowed(axis.expand(table.shape)[places]) for axis in value.axes))


def unknown(run: LabelPass, call: Call) -> Value | None:
    """Keep everything whole that an unknown operation meets."""
    for x in call.tensors:
        if run.value(x) is not None:
            run.keep(run.labels(x), run.at(call.name.strip("_")))
    return None


_ONLY_FLOATS = {"im2col", "col2im"}

_RULES: dict[Rule, str] = {
    pointwise: "pointwise hardswish hardsigmoid hardtanh where masked_fill _prelu_kernel prelu",
    copied: "copy",
    same: "clone _to_copy alias detach contiguous lift_fresh zeros_like ones_like full_like rand_like randn_like "
    "empty_like bernoulli dropout native_dropout feature_dropout",
    nothing: "new_zeros new_ones new_full new_empty new_empty_strided sym_size sym_stride sym_numel is_same_size",
    rearranged: "view _unsafe_view reshape _reshape_alias permute t transpose squeeze unsqueeze select slice unbind "
    "cat stack expand repeat roll flip index gather index_select pixel_shuffle pixel_unshuffle "
    "im2col unfold diagonal split_with_sizes",
    padded: "constant_pad_nd",
    shuffled: "channel_shuffle native_channel_shuffle",
    restrided: "as_strided",
    chunked: "split",
    spatial: "max_pool2d_with_indices max_pool1d avg_pool1d avg_pool2d avg_pool3d max_pool3d_with_indices "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d "
    "_upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa "
    "_upsample_bicubic2d_aa reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
    reduced: "mean sum max min amax amin var std var_mean norm linalg_vector_norm logsumexp argmax argmin prod",
    normalized: "_softmax _safe_softmax _log_softmax cumsum cumprod sort",
    convolved: "convolution",
    product: "mm bmm",
    added_product: "addmm baddbmm",
    batch_normed: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm",
    layer_normed: "native_layer_norm",
    group_normed: "native_group_norm",
    looked_up: "embedding",
}

RULES: dict[str | None, Rule] = {name: rule for rule, names in _RULES.items() for name in names.split()} | {
    None: unknown
}
"""Operation → rule; `None` for every operation that is neither listed nor pointwise."""
