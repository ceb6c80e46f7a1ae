"""How networks of a user, or of a registry of networks, are named: `torchvision:NAME`, `timm:NAME`, `FILE.py:NAME`.

A name in a file imports nothing. What it says is looked for among the networks of torchvision and timm, which are made
without weights, and in what `--import`, or a program, has imported.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import nn

from ramify import imports
from ramify.errors import ConfigurationError, MissingExtraError, nearest, shown
from ramify.registry import Registry, label

Make = Callable[..., nn.Module]

NETWORKS: Registry[Make] = Registry("network", package="ramify.spaces")
"""The classes and functions of users that were handed over; so runs record their modules, as `--import` does."""

INSTANCE = "instance"
"""How architectures name a network that was handed over as an object."""

_WEIGHTS = {
    "torchvision": ("weights", "weights_backbone", "progress"),
    "timm": ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"),
}
"""Keywords of registries that reading a file must not act on."""

_may_import: ContextVar[bool] = ContextVar("may_import", default=True)
_here: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Source:
    """Where a network comes from.

    Args:
        text: Its name, as architectures say it.
        make: What makes it; None for an object.
        instance: The object; None where there is something that makes it.
        fingerprint: Of what has no name that another process could find; else empty.
    """

    text: str
    make: Make | None = None
    instance: nn.Module | None = None
    fingerprint: str = ""

    @property
    def title(self) -> str:
        """The name in a message."""
        if self.instance is not None:
            return type(self.instance).__name__
        where, _, name = self.text.rpartition(":")
        return self.text if where in _WEIGHTS else name.rpartition(".")[2]

    @property
    def taken(self) -> tuple[str, ...]:
        """The names of what it is made by."""
        if self.make is None:
            return ()
        registry = self.text.partition(":")[0]
        known = {"torchvision": ("num_classes",), "timm": ("num_classes", "in_chans")}
        return known.get(registry) or tuple(inspect.signature(self.make).parameters)

    def called(self, shape: Mapping[str, int], keywords: Mapping[str, Any]) -> nn.Module:
        """Return a fresh network.

        Raises:
            ConfigurationError: If it cannot be made.
        """
        assert self.make is not None
        given = {name: value for name, value in shape.items() if name in self.taken}
        if "in_channels" in shape and "in_chans" in self.taken:
            given["in_chans"] = shape["in_channels"]
        try:
            network = self.make(**given, **keywords)
        except Exception as error:  # whatever the code of others does
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigurationError(f"{self.text} cannot be made: {reason:.200}") from error
        if not isinstance(network, nn.Module):
            raise ConfigurationError(f"{self.text} must make a module of PyTorch, got {shown(network)}")
        return network


@contextmanager
def importing_nothing() -> Iterator[None]:
    """Let names, within a block, import nothing: they come from a file."""
    token = _may_import.set(False)
    try:
        yield
    finally:
        _may_import.reset(token)


def source_of(network: Any, keywords: Mapping[str, Any], fingerprint: str = "") -> Source:
    """Return where a network comes from.

    Args:
        network: A class or function, a module of PyTorch, or a name.
        keywords: For what makes it.
        fingerprint: Of what was handed over in this program before, as architectures say it.

    Raises:
        ConfigurationError: If it cannot be found, or names must not import it.
    """
    if fingerprint:
        return _handed_over(str(network), fingerprint)
    if isinstance(network, nn.Module):
        source = Source(INSTANCE, None, network, _fingerprint(network))
        _here[source.fingerprint] = network
        return source
    if not isinstance(network, str):
        return _of_callable(network)
    where, colon, name = network.rpartition(":")
    if not colon or not name:
        raise ConfigurationError(
            f"network {shown(network)!r} must be torchvision:NAME, timm:NAME, FILE.py:NAME or PACKAGE.MODULE:NAME"
        )
    if where in _WEIGHTS:
        if taken := next((word for word in _WEIGHTS[where] if word in keywords), None):
            raise ConfigurationError(
                f"{network}: a name never loads weights, so `keywords` cannot hold {taken!r}; hand over the network"
            )
        return Source(network, _of_registry(where, name))
    return _of_module(where, name)


def brought(text: str) -> str:
    """Return the name of a network, having imported the file or module that it names, as `--import` does.

    `FILE.py:NAME` becomes `FILE:NAME`; other names stay as they are.
    """
    where, colon, name = text.rpartition(":")
    if not colon or where in _WEIGHTS:
        return text
    if imports.found(where) is None or where.endswith(".py"):
        imports.bring(where)
    return f"{imports.label_of(where)}:{name}"


def _handed_over(text: str, fingerprint: str) -> Source:
    found = _here.get(fingerprint)
    if found is None:
        what = "an object" if text == INSTANCE else shown(text)
        raise ConfigurationError(
            f"the network is {what} of a program (fingerprint {fingerprint[:12]}), which no file holds; go on where it "
            "is at hand: make AnyNetwork of it, and hand over that space"
        )
    return Source(text, None if text == INSTANCE else found, found if text == INSTANCE else None, fingerprint)


def _of_callable(make: Any) -> Source:
    if not callable(make):
        raise ConfigurationError(
            f"`network` must be a class, a function, a module of PyTorch or a name, got {shown(make)}"
        )
    name, module = getattr(make, "__qualname__", type(make).__name__), getattr(make, "__module__", "")
    text = f"{label(module)}:{name}"
    there = imports.found(label(module))
    if there is not None and "." not in name and getattr(there, name, None) is make:
        NETWORKS.add(name, cast(Make, make))
        return Source(text, make)
    digest = hashlib.sha256(f"{text}\0{imports.source_of(make)}".encode()).hexdigest()
    _here[digest] = make
    return Source(text, make, None, digest)


def _of_registry(registry: str, name: str) -> Make:
    if registry == "torchvision":
        import torchvision

        known: Collection[str] = torchvision.models.list_models(torchvision.models)
        if name not in known:
            raise ConfigurationError(f"torchvision has no network {shown(name)!r}; {nearest(name, known)}")
        return partial(torchvision.models.get_model_builder(name), weights=None)
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "timm", "a network of timm") from None
    if not timm.is_model(name):
        raise ConfigurationError(f"timm has no network {shown(name)!r}; {nearest(name, timm.list_models())}")
    return partial(timm.create_model, name, pretrained=False)


def _is_network(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, nn.Module)


def _of_module(where: str, name: str) -> Source:
    """Return the network of a module that was imported; a name in a program may import it."""
    if _may_import.get():
        where, _, name = brought(f"{where}:{name}").rpartition(":")
    module = imports.found(where)
    if module is None:
        file = where if where.endswith(".py") else f"{where}.py, or --import {where} of a module,"
        raise ConfigurationError(
            f"network {shown(f'{where}:{name}')!r} is of a user's file, and names import nothing: add --import "
            f"{shown(file)}"
        )
    make: Any = vars(module).get(name)
    own = f"{getattr(make, '__module__', '')}.".startswith(f"{module.__name__}.")
    named = NETWORKS.entry_of(make) is not None or imports.is_brought(where)
    if not (own and (_is_network(make) or (inspect.isfunction(make) and named))):
        networks = [key for key, value in vars(module).items() if _is_network(value)]
        raise ConfigurationError(f"{shown(where)} defines no network {shown(name)!r}; {nearest(name, networks)}")
    NETWORKS.add(name, make)
    return Source(f"{imports.label_of(where)}:{name}", make)


def _fingerprint(network: nn.Module) -> str:
    shapes = [(path, list(value.shape)) for path, value in network.state_dict().items()]
    kinds = [(path, type(module).__qualname__) for path, module in network.named_modules()]
    return hashlib.sha256(json.dumps([shapes, kinds]).encode()).hexdigest()
