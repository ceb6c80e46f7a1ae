"""Using jsonargparse to show help and configurations, derived from the types of constructors.

It sees values that were checked already, reads no words but those that ask for something to be shown, and is told to
import nothing but classes that are known (a setting of the whole process). Types that only users' classes have, such as
`Path`, are left to it too.
"""

# Tried with jsonargparse 4.53; pyproject.toml bounds it, and tests/commandline/test_parser.py tells when it is another.

from __future__ import annotations

import inspect
import json
import sys
from argparse import SUPPRESS, Action
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_dumper, set_loader, set_parsing_settings

from ramify.commandline.classes import classes
from ramify.commandline.words import yaml_of
from ramify.errors import RamifyError
from ramify.registry import brought, label

_LAST = ("from files", "help")
"""Titles of the last groups of options."""
_UNTITLED = ("options", "positional arguments")
"""Titles of the groups that there are in any case."""

MODE = "ramify"
"""The name of the reader of values among those of jsonargparse."""


class _Refusal(Exception):
    """What the parser says of a value."""


class Help(DefaultHelpFormatter):
    """What jsonargparse says of options, without types that only their authors need, and without long usages."""

    def _get_help_string(self, action: Action) -> str:
        """Return the text of an option, then in brackets what number it takes and its default, if it has one."""
        kind = (self._get_type_str(action) or "").removesuffix(" | null")
        told = [kind] if kind in ("int", "float") else []
        if action.default not in (None, SUPPRESS, {}, ()) and action.option_strings:
            told.append(f"default: {_in_words(action.default)}".replace("%", "%%"))
        text = action.help or ""
        return f"{text} ({', '.join(told)})" if told else text

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None) -> str:
        """Return one line: what must be given; nothing where the settings of a class are shown."""
        if self._prog.startswith("ramify "):
            needed = [action for action in actions if action.required or not action.option_strings]
            line: str = super()._format_usage(usage, needed, groups, prefix).rstrip()
            return f"{line} [options]\n\n" if len(needed) < len(list(actions)) else f"{line}\n\n"
        return ""


def _in_words(default: Any) -> str:
    """Return a default for people: of an object the name of its class."""
    path = getattr(default, "class_path", None) or (default.get("class_path") if isinstance(default, dict) else None)
    return str(path).rpartition(".")[2] if path else str(default)


def _reworded(action: Action) -> None:
    """Say in few words what the options do that jsonargparse adds."""
    if action.dest.endswith(".help"):
        several = action.nargs != 0
        action.help = "settings of the class NAME" if several else "its settings"
        action.metavar = "NAME" if several else None
    elif action.dest == "print_config":
        action.help, action.metavar = "print the options as a file for --config; `=skip_default` shortens it", "=FLAG"


class Parser(ArgumentParser):
    """A jsonargparse parser that raises exceptions instead of ending the program."""

    def __init__(self, **options: Any) -> None:
        fixed = {"parser_mode": MODE, "default_env": False, "formatter_class": Help}
        super().__init__(**{**options, **fixed})

    def arrange(self, titles: Mapping[str, str]) -> None:
        """Show options in groups: name → title, in the order of the titles; of others and of help last."""
        groups: dict[str, list[Action]] = {title: [] for title in titles.values()}
        shown: Any = self._action_groups
        for group in shown:
            for action in group._group_actions:
                _reworded(action)
                last = _LAST[1] if action.dest.rpartition(".")[2] == "help" else _LAST[0]
                own = last if group.title in _UNTITLED or last == _LAST[1] else str(group.title)
                groups.setdefault(titles.get(action.dest, own), []).append(action)
        shown.clear()
        order = [*(title for title in groups if title not in _LAST), *_LAST]
        for title in order:
            self.add_argument_group(title)._group_actions.extend(groups.get(title, ()))

    def add_class_arguments(self, theclass: Any, nested_key: str | None = None, **options: Any) -> Any:
        """Add the settings of a class, its own first, then what it shares with others."""
        before = len(self._action_groups)
        added = super().add_class_arguments(theclass, nested_key, **options)
        if nested_key is not None and before < len(self._action_groups):
            self._set_apart(theclass, nested_key, self._action_groups[before])
        return added

    def _set_apart(self, theclass: type, nested_key: str, group: Any) -> None:
        """Move settings that a class does not declare itself out of its group, into one behind it."""
        own = {f"{nested_key}.{name}" for name in vars(theclass).get("__annotations__", {})}
        shared = [action for action in group._group_actions if action.dest not in own]
        if not shared or len(shared) == len(group._group_actions):
            return
        behind = self.add_argument_group(f"What {theclass.__name__} shares with others")
        behind._group_actions.extend(shared)
        group._group_actions[:] = [action for action in group._group_actions if action.dest in own]
        shown: Any = self._action_groups
        shown.remove(behind)
        shown.insert(shown.index(group) + 1, behind)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error that jsonargparse would print."""
        raise _Refusal(message)


def prepare(*, classes: bool) -> None:
    """Configure how jsonargparse reads values, and let it import known classes only.

    Args:
        classes: Whether options name any; where none do, PyTorch need not be waited for.
    """
    set_loader(MODE, yaml_of, (RamifyError,))
    set_dumper(MODE, _dumped)
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=sorted(_known_paths()) if classes else [],
        instantiate_subclass_spec_in_any=False,
    )


def answered(parser: Parser, words: Sequence[str], values: Mapping[str, Any] | None = None) -> None:
    """Let jsonargparse print the answer to words such as `--help`, which ends the program.

    Raises:
        RamifyError: If it refuses.
    """
    config = [] if not values else [f"--config={json.dumps(_nested(values))}"]
    try:
        parser.parse_args([*config, *words])
    except RamifyError:
        raise
    except Exception as problem:
        raise RamifyError(f"the options cannot be shown ({str(problem)[:120]})") from None


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose names have dots as mappings in each other."""
    nested: dict[str, Any] = {}
    for option, value in values.items():
        *outer, name = option.split(".")
        inside = nested
        for part in outer:
            inside = inside.setdefault(part, {})
        inside[name] = value
    return nested


def read(value: Any, kind: Any) -> Any:
    """Return a plain value as the object of a type that only jsonargparse can parse.

    Raises:
        Exception: Of whatever kind, if it stands for none.
    """
    parser = Parser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    return parser.instantiate(parser.parse_object({"value": value})).value


def takes(value: Any, kind: Any) -> bool:
    """Return whether jsonargparse accepts a plain value for a type."""
    prepare(classes=True)
    try:
        read(value, kind)
    except Exception:  # jsonargparse has no type for what it is not made for
        return False
    return True


def _dumped(value: Any) -> str:
    import yaml

    return yaml.safe_dump(_with_full_names(value), sort_keys=False, allow_unicode=True)


def _with_full_names(value: Any) -> Any:
    """Name the classes of users by where they are from, not by the modules of this process."""
    if isinstance(value, list):
        return [_with_full_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {name: _with_full_names(item) for name, item in value.items()}
    path = named.get("class_path")
    if isinstance(path, str) and path.partition(".")[0] != "ramify":
        module, _, name = path.rpartition(".")
        named["class_path"] = f"{label(module)}:{name}"
    return named


def _known_paths() -> set[str]:
    """Return by which paths the classes may be named: those that the library's packages offer, and those of users."""
    import ramify
    from ramify import (
        benchmarks,
        data,
        evaluators,
        executors,
        hypergradient,
        loggers,
        shrinking,
        spaces,
        strategies,
        tasks,
        training,
    )

    paths: set[str] = set()
    packages = (benchmarks, data, evaluators, executors, hypergradient, loggers, shrinking, spaces, strategies, tasks)
    for package in (*packages, training):
        for name in package.__all__:
            kind = getattr(package, name)
            if inspect.isclass(kind):
                paths |= {f"{package.__name__}.{name}", f"{kind.__module__}.{kind.__qualname__}"}
                if name in ramify.__all__:
                    paths.add(f"ramify.{name}")
    for registry in classes().values():
        paths |= {entry.path for entry in [*registry.entries(), *registry.users()]}
    for module in brought:  # also the settings that classes of users take
        paths |= {f"{module}.{name}" for name, kind in vars(sys.modules[module]).items() if inspect.isclass(kind)}
    return paths
