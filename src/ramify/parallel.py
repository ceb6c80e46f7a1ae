"""Data-parallel processes: each holds a share of every batch, and all of them the same state.

What they have to tell each other is a sum over all of them, so one collective carries everything. Where this process
is alone, every function returns what it got. PyTorch is imported when there is something to tell.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ramify import errors
from ramify.errors import RamifyError, RunError

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


class LostError(RunError):
    """Another process of the same job has died."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the name of the processor, empty if the system does not report it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def started() -> int:
    """Return the number of processes that `torchrun`, or a run with `devices`, has started; 1 without either."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


_apart = False


@contextmanager
def apart() -> Iterator[None]:
    """Let every process do the whole work of the block by itself, as if it were alone."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def world() -> int:
    """Return the number of processes."""
    distributed = None if _apart else _distributed()
    return 1 if distributed is None else distributed.get_world_size()


def rank() -> int:
    """Return the number of this process, from 0."""
    distributed = _distributed()
    if distributed is not None:
        return distributed.get_rank()
    return int(os.environ.get("RANK", 0)) if started() > 1 else 0


def is_first() -> bool:
    """Return whether this process is the first, which alone writes files and prints."""
    return rank() == 0


def say(text: str, *, enabled: bool = True) -> None:
    """Print a line on standard error, from the first of several processes."""
    if enabled and is_first():
        print(text, file=sys.stderr)


_said: set[str] | None = None


@contextmanager
def once() -> Iterator[None]:
    """Let `say_once` print each line only once within the block and nested blocks."""
    global _said
    before, _said = _said, set() if _said is None else _said
    try:
        yield
    finally:
        _said = before


def printed() -> tuple[str, ...]:
    """Return the lines that `say_once` has printed within the block of `once`."""
    return tuple(sorted(_said or ()))


def remember(lines: Iterable[str]) -> None:
    """Mark lines as printed within this block of `once`, because another process printed them."""
    if _said is not None:
        _said.update(lines)


def say_once(text: str, *, enabled: bool = True) -> None:
    """Print a line as `say` does, unless it was printed within this block of `once`."""
    if not enabled or (_said is not None and text in _said):
        return
    say(text)
    if _said is not None:
        _said.add(text)


def _distributed() -> Any:
    """Return `torch.distributed` where processes are connected."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed


# Sums


def total(x: Tensor) -> Tensor:
    """Return the sum of `x`, of any shape and on any device, over all processes.

    Raises:
        LostError: If one of them is gone.
    """
    if world() == 1:
        return x
    x = x.detach().contiguous().clone()
    reduce(x)
    return x


def reduce(x: Tensor) -> None:
    """Replace a contiguous `x` by its sum over all processes.

    Raises:
        LostError: If one of them is gone.
    """
    distributed = _distributed()
    if distributed is None:
        return
    try:
        distributed.all_reduce(x)
    except RuntimeError as error:
        raise LostError(
            f"the other processes of the run cannot be reached any more ({str(error).splitlines()[0][:100]}); "
            "the same command continues"
        ) from None


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replace tensors by their means over all processes, in place, in one exchange per device and type.

    Args:
        tensors: The same ones in every process; None stands for what is none in all of them.
    """
    count = world()
    if count == 1:
        return
    import torch

    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        if tensor is not None:
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    with torch.no_grad():
        for group in groups.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            reduce(flat)
            flat /= count
            for tensor, mean in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(mean.view(tensor.shape))


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the means over all processes; tensors are copied first where there are several processes."""
    if world() == 1:
        return list(tensors)
    copies = [tensor.detach().clone() for tensor in tensors]
    average(copies)
    return copies


# Shares


def share(x: Tensor) -> Tensor:
    """Return this process' share of the images `x` (B, …): every `world`-th one, beginning at the rank."""
    count = world()
    return x if count == 1 else x[rank() :: count]


def part() -> tuple[int, int]:
    """Return the index of this process' first image in a batch, and the distance to the next."""
    return (0, 1) if world() == 1 else (rank(), world())


def divisible(images: int) -> int:
    """Return the largest multiple of the number of processes that is at most `images`."""
    return images - images % world()


def counted(images: int) -> list[int]:
    """Return the number of images that each process holds, where this one holds `images`."""
    mine = [float(images) if number == rank() else 0.0 for number in range(world())]
    return [images] if world() == 1 else [int(count) for count in _numbers(mine)]


_held: tuple[int, ...] | None = None


@contextmanager
def holding(images: Sequence[int]) -> Iterator[None]:
    """Declare for the block how many images of a batch each process holds, in the order of ranks."""
    global _held
    before, _held = _held, tuple(images) if len(set(images)) > 1 else None
    try:
        yield
    finally:
        _held = before


def held(images: int) -> list[int]:
    """Return how many images of a batch each process holds, where this one holds `images`: equally many by default."""
    return [images] * world() if _held is None or world() == 1 else list(_held)


# One process decides


def any_of(condition: bool) -> bool:
    """Return whether a condition is true in any process."""
    return condition if world() == 1 else any(value != 0 for value in _numbers([float(condition)]))


def of_first(values: Sequence[float]) -> list[float]:
    """Return the first process' numbers in all processes, bit for bit."""
    if world() == 1:
        return list(values)
    return _numbers([float(value) if is_first() else 0.0 for value in values])


def _numbers(values: Sequence[float]) -> list[float]:
    import torch

    return total(torch.tensor(values, dtype=torch.float64)).tolist()


def text_of_first(text: str) -> str:
    """Return the first process' text in all processes."""
    if world() == 1:
        return text
    import torch

    content = text.encode() if is_first() else b""
    size = int(of_first([len(content)])[0])
    buffer = torch.zeros(size, dtype=torch.uint8)
    if is_first() and size:
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return bytes(total(buffer).tolist()).decode()


def by_first(work: Callable[[], Result]) -> Result | None:
    """Run a function in the first process; its error is raised in all of them.

    Returns:
        What it returned, to the first process alone.

    Raises:
        RamifyError: If the work did.
    """
    if world() == 1:
        return work()
    result, problem, kind = None, "", ""
    if is_first():
        try:
            result = work()
        except RamifyError as error:
            problem, kind = str(error), type(error).__name__
    kind, problem = text_of_first(kind), text_of_first(problem)
    if kind:
        raise error_of(kind, problem)
    return result


def error_of(kind: str, message: str) -> RamifyError:
    """Return the error that another process has reported."""
    error = {"LostError": LostError, **vars(errors)}.get(kind)
    proper = isinstance(error, type) and issubclass(error, RamifyError) and error is not errors.MissingExtraError
    return error(message) if proper else RamifyError(message)  # type: ignore[misc]


def wait() -> None:
    """Wait until all processes have reached this point."""
    any_of(False)


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process run the block before the others, which can reuse its results."""
    if not is_first():
        wait()
    try:
        yield
    finally:
        if is_first():
            wait()


# Agreement


def fingerprints(state: Any, name: str = "") -> dict[str, str]:
    """Return a digest for every tensor and plain value of a nested state, by its path."""
    import torch

    if isinstance(state, torch.Tensor):
        content = state.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {name: _digest(str(state.dtype).encode(), str(tuple(state.shape)).encode(), content)}
    if isinstance(state, Mapping):
        items: Iterable[tuple[Any, Any]] = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    else:
        return {name: _digest(repr(state).encode())}
    return {
        place: digest
        for key, value in items
        for place, digest in fingerprints(value, f"{name}.{key}" if name else str(key)).items()
    }


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\x1f".join(parts)).hexdigest()


def agree(digests: Callable[[], Mapping[str, str]], when: str) -> None:
    """Check that all processes hold the same state.

    Args:
        digests: Returns a digest for every name; not called where this process is alone.
        when: For the message, for instance `after step 100`.

    Raises:
        RunError: In all of them, if they have not.
    """
    if world() == 1:
        return
    mine = digests()
    names = sorted(mine)
    if _same(_digest(*(f"{name}={mine[name]}".encode() for name in names))):
        return
    place = "not even about what there is to compare"
    if _same(_digest(*(name.encode() for name in names))):
        place = f"first in {next(name for name in names if not _same(mine[name]))!r}"
    raise RunError(
        f"the {world()} processes of the run disagree {when}, {place}: their machines compute differently, or an "
        "operation is not deterministic; run with one device"
    )


def _same(digest: str) -> bool:
    """Return whether all processes hold the same digest, in all of them."""
    import torch

    values = torch.zeros(world(), len(digest) // 2, dtype=torch.uint8)
    values[rank()] = torch.frombuffer(bytearray(bytes.fromhex(digest)), dtype=torch.uint8)
    values = total(values)
    return bool((values == values[0]).all())
