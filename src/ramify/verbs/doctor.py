"""Say what this machine has: versions, extras, devices, threads, folders, and what stands in the way."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ramify
from ramify.commandline.options import add_json
from ramify.parallel import processor, usable_cores

_LIBRARIES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "NUMEXPR_")
"""Begin the names of environment variables that say how libraries use threads."""

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.run.speed import Speed


@dataclass(frozen=True)
class Package:
    """A package that Ramify, or one of its extras, needs.

    Args:
        name: As pip knows it.
        version: The one that is installed, if any.
        extra: Of Ramify, that needs it; empty for what all of Ramify needs.
        problem: What is wrong with it; empty if nothing is.
        install: The command that installs it.
    """

    name: str
    version: str | None
    extra: str
    problem: str
    install: str


@dataclass(frozen=True)
class Device:
    """A device as `--device` takes it.

    Args:
        device: `cpu`, `cuda:0`, `mps`, …
        name: Of the hardware.
        capability: Which instructions PyTorch uses there.
        memory: Bytes in all; None where that cannot be known.
        free: Bytes that nobody uses now.
        precisions: What `--precision` can be there, each of them tried.
    """

    device: str
    name: str
    capability: str
    memory: int | None
    free: int | None
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A folder that Ramify, or one of its libraries, writes to.

    Args:
        what: Lies there.
        path: The folder, which is made when it is needed.
        writable: Whether it can be made and written.
        free: Bytes that are left there.
    """

    what: str
    path: str
    writable: bool
    free: int | None


@dataclass(frozen=True)
class Checkup:
    """The findings of `ramify doctor`.

    Args:
        versions: Of Ramify, Python and the system.
        packages: That are needed, those of extras last.
        devices: The CPU first.
        cores: Of the processor: all, and those that this process may use.
        threads: Of PyTorch's operations, and of what runs beside them.
        variables: Those of the environment that set the threads of libraries.
        places: Where files go.
        problems: What stands in the way, and what to do about it; empty if nothing does.
        kernels: What the execution `compiled` has on the CPU, or why there is none.
        speeds: How fast the processor is on networks of every kind; empty where nothing was measured.
    """

    versions: dict[str, str]
    packages: tuple[Package, ...]
    devices: tuple[Device, ...]
    cores: dict[str, int]
    threads: dict[str, int]
    variables: dict[str, str]
    places: tuple[Place, ...]
    problems: tuple[str, ...]
    kernels: str = ""
    speeds: tuple[Speed, ...] = ()


MEASURING_S = 10.0
"""Seconds that measuring takes; more where other work keeps the processor busy."""


def doctor(*, measure: bool = False) -> Checkup:
    """Check versions, extras, devices, threads, precisions and folders; nothing is changed or downloaded.

    Args:
        measure: Whether to measure what precisions and threads bring on this processor, for about ten seconds.
    """
    import torch

    versions = {"ramify": ramify.__version__, "python": platform.python_version(), "system": platform.platform()}
    packages, devices, places = tuple(_packages()), tuple(_devices()), tuple(_places())
    usable = usable_cores()
    cores = {"all": os.cpu_count() or 1, "usable": usable}
    threads = {"operations": torch.get_num_threads(), "beside": torch.get_num_interop_threads()}
    variables = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_LIBRARIES)}
    problems = [f"{package.name} {package.problem}: {package.install}" for package in packages if _stands_in(package)]
    if threads["operations"] > usable:
        problems.append(
            f"{threads['operations']} threads share {usable} cores: set OMP_NUM_THREADS={usable}, or --threads {usable}"
        )
    if not torch.cuda.is_available() and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        problems.append(
            f"there is an NVIDIA GPU that PyTorch, which was built {build}, cannot use: update the driver, or install "
            "the build of PyTorch for it (pytorch.org/get-started)"
        )
    problems += [f"{place.path} ({place.what}) cannot be written" for place in places if not place.writable]
    speeds: tuple[Speed, ...] = ()
    if measure:
        from ramify import kernels
        from ramify.run import speed

        kernels.build()
        speeds = tuple(speed.speeds(MEASURING_S))
    return Checkup(versions, packages, devices, cores, threads, variables, places, tuple(problems), _kernels(), speeds)


def _kernels() -> str:
    from ramify.kernels import kernels

    found = kernels()
    if not found:
        return f"none: {found.reason}"
    assert found.folder is not None
    return f"for {found.processor}, {'in' if found.folder.exists() else 'to be compiled into'} {found.folder}"


# Packages


def _stands_in(package: Package) -> bool:
    """Return whether a package stands in the way: an extra that is missing does not, an old one would."""
    return bool(package.problem) and (not package.extra or package.version is not None)


def _packages() -> Iterator[Package]:
    from packaging.requirements import Requirement

    for text, extra in _requirements():
        wanted = Requirement(text)
        install = f"pip install 'ramify[{extra}]'" if extra else f"pip install '{wanted.name}{wanted.specifier}'"
        try:
            version: str | None = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = None
        problem = ""
        if version is None:
            problem = "is missing"
        elif not wanted.specifier.contains(version, prereleases=True):
            problem = f"{version} is installed, and {wanted.specifier} needed"
            install = f"pip install '{wanted.name}{wanted.specifier}'"
        elif wanted.name in ("torch", "torchvision"):  # which do not fit together at times
            problem = _import_problem(wanted.name)
        yield Package(wanted.name, version, extra, problem, install)


def _import_problem(module: str) -> str:
    try:
        import_module(module)
    except Exception as error:  # whatever a broken installation says
        return f"cannot be imported ({' '.join(str(error).split())[:120]})"
    return ""


def _requirements() -> list[tuple[str, str]]:
    """Return what Ramify requires, with the extra that does: as its checkout says, else as its installation does."""
    project = Path(ramify.__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        about = tomllib.loads(project.read_text()).get("project", {})
        if about.get("name") == "ramify":
            extras = about.get("optional-dependencies", {})
            requirements = [(text, "") for text in about["dependencies"]]
            return requirements + [(text, extra) for extra in extras if extra != "dev" for text in extras[extra]]
    try:
        listed = metadata.requires("ramify") or []
    except metadata.PackageNotFoundError:
        return []
    split = [(text.partition(";")[0], re.search(r"extra == ['\"](\w+)['\"]", text)) for text in listed]
    requirements = [(text, extra[1] if extra else "") for text, extra in split if not extra or extra[1] != "dev"]
    return sorted(requirements, key=lambda required: bool(required[1]))


# Devices


def _devices() -> Iterator[Device]:
    import torch

    memory, free = _memory()
    capability = torch.backends.cpu.get_cpu_capability()
    yield Device("cpu", processor(), capability, memory, free, _precisions("cpu"))
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        try:
            free = torch.cuda.mem_get_info(index)[0]
        except RuntimeError:  # others use all of it, or the device alone
            free = None
        device = f"cuda:{index}"
        capability = f"compute capability {about.major}.{about.minor}"
        yield Device(device, about.name, capability, about.total_memory, free, _precisions(device))
    if torch.backends.mps.is_available():
        yield Device("mps", platform.processor(), "Metal", torch.mps.recommended_max_memory(), None, _precisions("mps"))


def _memory() -> tuple[int | None, int | None]:
    """Return the bytes of the machine's memory, and how many of them are available."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {name: 1024 * int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
        return sizes.get("MemTotal"), sizes.get("MemAvailable")
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (OSError, ValueError, AttributeError):
        return None, None


def _precisions(device: str) -> tuple[str, ...]:
    from ramify.run.environment import PRECISIONS, has_precision

    kind = device.partition(":")[0]
    return tuple(name for name in PRECISIONS if has_precision(kind, name) and _computes(device, name))


def _computes(device: str, precision: str) -> bool:
    """Return whether a convolution and its gradient can be computed in a precision."""
    import torch

    kinds = {"64": torch.float64, "bf16": torch.bfloat16, "16": torch.float16}
    bits, _, way = precision.partition("-")
    try:
        stored = kinds.get(bits, torch.float32) if way == "true" else torch.float32
        images = torch.ones(1, 1, 3, 3, device=device, dtype=stored, requires_grad=True)
        weight = torch.ones(1, 1, 3, 3, device=device, dtype=stored)
        with torch.autocast(device.partition(":")[0], kinds.get(bits), enabled=way == "mixed"):
            result = torch.nn.functional.conv2d(images, weight)
        result.float().sum().backward()
        return bool(result.item() == 9)
    except (RuntimeError, TypeError):
        return False


# Folders


def _places() -> Iterator[Place]:
    import torch

    from ramify.data.named import downloads

    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    yield _place("runs, from here", Path.cwd())
    yield _place("temporary files", _temporary())
    yield _place("downloads (RAMIFY_DATA)", downloads())
    yield _place("Hugging Face (HF_HOME)", Path(home).expanduser())
    yield _place("PyTorch Hub (TORCH_HOME)", Path(torch.hub.get_dir()))


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # there is none that can be written
        return Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 -- nothing is written there


def _place(what: str, path: Path) -> Place:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    writable, free = there.is_dir(), None
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError:
        writable = False
    return Place(what, str(path), writable, free)


# Words


def as_text(checkup: Checkup) -> str:
    """Return a checkup as text."""
    lines = [f"Ramify {checkup.versions['ramify']}, Python {checkup.versions['python']}, {checkup.versions['system']}"]
    lines += ["", "packages"]
    lines += _aligned([_shown(package) for package in checkup.packages if not package.extra])
    lines += ["", "extras"]
    lines += _aligned([(package.extra, *_shown(package)) for package in checkup.packages if package.extra])
    lines += ["", "devices"]
    for device in checkup.devices:
        memory = "" if device.memory is None else f", {_gib(device.memory)}"
        free = "" if device.free is None else f" ({_gib(device.free)} free)"
        lines.append(f"  {device.device}: {', '.join(filter(None, (device.name, device.capability)))}{memory}{free}")
        lines.append(f"    --precision {', '.join(device.precisions)}")
        if device.device == "cpu":
            lines.append(f"    kernels for separable convolutions: {checkup.kernels}")
    cores, threads = checkup.cores, checkup.threads
    lines += ["", "threads"]
    lines.append(f"  {threads['operations']} for operations, {threads['beside']} beside them")
    lines.append(f"  {cores['usable']} of {cores['all']} cores may be used")
    lines += [f"  {name}={value}" for name, value in checkup.variables.items()]
    lines += ["", "folders"]
    rows = []
    for place in checkup.places:
        free = "" if place.free is None else f"{_gib(place.free)} free"
        rows.append((place.what, place.path, free if place.writable else "cannot be written"))
    lines += _aligned(rows)
    if checkup.speeds:
        lines += ["", "speed of the CPU", *_speed_lines(checkup)]
    lines += ["", *(f"PROBLEM: {problem}" for problem in checkup.problems)] if checkup.problems else ["", "no problems"]
    return "\n".join(lines)


def _speed_lines(checkup: Checkup) -> list[str]:
    """Return what was measured, and what would make it faster."""
    counts = list(checkup.speeds[0].milliseconds)
    columns = [f"{count} thread{'s' * (count > 1)}" for count in counts]
    rows: list[Any] = [("", "", *columns, "bf16 against float32", "kernels against none")]
    for speed in checkup.speeds:
        each = [f"{speed.milliseconds[count]:.1f} ms" for count in counts]
        kernels = "" if speed.kernels is None else f"{speed.kernels} times as fast"
        rows.append((speed.kind, f"as {speed.example}", *each, f"{speed.bf16} times as fast", kernels))
    return [*_aligned(rows), *(f"  {line}" for line in _faster(checkup))]


def _faster(checkup: Checkup) -> Iterator[str]:
    """Yield what would make networks of every kind faster on this processor."""
    for speed in checkup.speeds:
        ways = []
        if speed.threads != checkup.threads["operations"]:
            ways.append(f"--threads {speed.threads}")
        if speed.bf16.low > 1.05:
            ways.append("--precision bf16")
        if speed.kind == "depthwise" and speed.kernels is None:
            ways.append(f"kernels, of which there are {checkup.kernels}")
        yield f"{speed.kind}: " + (f"faster with {', '.join(ways)}" if ways else "as it is set, it is fastest")
    if any(max(times.values()) > 2 * times[1] for times in (speed.milliseconds for speed in checkup.speeds)):
        yield "more threads are much slower than one: other work keeps the cores busy; measure again when it is done"


def _shown(package: Package) -> tuple[str, str, str]:
    advice = f"{package.problem}: {package.install}" if package.problem else ""
    return package.name, package.version or "-", advice


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _aligned(rows: list[Any]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


# On the command line


def run(command: Command) -> int:
    """Run `ramify doctor`."""
    command.add("--measure", bool, "whether to measure what precisions and threads bring here", flag=True)
    add_json(command)
    options = command.parse()
    checkup = doctor(measure=options.measure)
    print(json.dumps(dataclasses.asdict(checkup), indent=2) if options.json else as_text(checkup))
    return 0
