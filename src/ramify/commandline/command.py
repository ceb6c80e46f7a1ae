"""Declaring a verb's options and parsing the words given for them."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ramify.commandline import words as given
from ramify.commandline.classes import classes, kind_of
from ramify.commandline.kinds import members
from ramify.commandline.objects import object_of
from ramify.commandline.values import Reader, Readers, UnnamedError
from ramify.commandline.words import Given, Place, Word
from ramify.errors import ConfigurationError, RamifyError
from ramify.reading import shown
from ramify.wording import sentence

Expand = Callable[[str, Sequence[Given]], "Sequence[Given] | None"]
"""Takes a text and all that was given; returns what the text stands for, values of other options, if it does."""

Explain = Callable[["str | None", Sequence[Given]], str]
"""Takes what help is asked for, None for what was given, and all that was given; returns what there is to say.

An empty text asks without insisting: what nothing was given for is not missed.
"""

_IMPORT = "file or module with classes of your own, then known by their names like the library's; may be repeated"
_PASSED = ("print_config", "print_shtab")  # to the parser


@dataclass(frozen=True)
class Option:
    """An option of a verb.

    Args:
        kind: Its type.
        required: Whether it must be given.
        positional: Whether it has a place instead of a name.
        flag: Whether it may stand alone.
        reader: Reads its values.
        expand: Returns what a text stands for where it is short for other options.
        first: Whether these are overridden by all others, not only by those that come later.
        explain: Returns what lies below it, for help, where that depends on other options.
        arguments: How the parser declares it.
        several: Whether its place takes all words that are left.
        title: Of the group in which help shows it.
    """

    kind: Any
    required: bool
    positional: bool
    flag: bool
    reader: Reader
    expand: Expand | None
    first: bool
    explain: Explain | None
    arguments: Mapping[str, Any] = field(repr=False)
    several: bool = False
    title: str = "options"

    def beginning(self, below: Sequence[str], place: Place) -> Any:
        """Return what a first value for something `below` the option changes: nothing, or what holds by default.

        That is a list to which something is added, or an object of a class.
        """
        default = self.arguments.get("default")
        if below == ["+"]:
            return default
        if not below or default is None or not any(map(kind_of, members(self.kind))):
            return None
        from ramify.run.configuration import described

        return self.reader.merged(None, self.kind, [], described(default), place)


class Options(dict[str, Any]):
    """Parsed options by name, also as attributes; dotted names are nested."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def put(self, names: Sequence[str], value: Any) -> None:
        """Set one option by the parts of its dotted name."""
        inside = self
        for name in names[:-1]:
            inside = inside.setdefault(name, Options())
        inside[names[-1]] = value


class Command:
    """A call of a verb: its declared options and the words that follow it."""

    def __init__(self, name: str, summary: str, words: Sequence[str]) -> None:
        given.check(words)
        self.name, self.summary, self.words = name, summary, list(words)
        self._options: dict[str, Option] = {}
        self._takes_classes = False
        self._given: list[Given] | None = None
        self._others: list[Word] = []

    def below(self, name: str, summary: str) -> Command:
        """Return the command of the sub-verb that the first word names."""
        return Command(f"{self.name} {name}", summary, self.words[1:])

    # Declaring options

    def take_classes(self) -> None:
        """Declare `--import`, which adds classes that options can name; comes before all other options."""
        classes()  # whose names are taken
        self._takes_classes = True
        self.words = given.without_imports(self.words)

    def add(
        self,
        name: str,
        kind: Any,
        text: str,
        *,
        required: bool = False,
        default: Any = None,
        flag: bool = False,
        readers: Readers | None = None,
        expand: Expand | None = None,
        first: bool = False,
        explain: Explain | None = None,
        several: bool = False,
        title: str = "options",
    ) -> None:
        """Declare an option.

        Args:
            name: `--name`, or `name` where it has a place.
            kind: The type of its values.
            text: What it is, for `--help`.
            required: Whether it must be given; what has a place must be unless None is of its type.
            default: Its value if it is not given.
            flag: Whether it may stand alone, for true.
            readers: Of texts with a meaning of their own, by their names below the option.
            expand: Returns what a text stands for where it is short for other options.
            first: Whether these are overridden by all others, not only by those that come later.
            explain: Returns what lies below it, for help, where that depends on other options.
            several: Whether its place, the last one, takes all words that are left, as a list.
            title: Of the group in which help shows it, unless it must be given.
        """
        positional = not name.startswith("--")
        arguments: dict[str, Any] = {"type": kind, "help": text}
        if positional:
            required = several or not isinstance(None, kind)
            arguments |= {"nargs": "+"} if several else {} if required else {"nargs": "?"}
        elif required:
            arguments["required"] = True
        else:
            arguments["default"] = default
        if flag:
            arguments |= {"nargs": "?", "const": True, "default": False}
        reader = Reader(readers or {})
        self._options[name.lstrip("-")] = Option(
            kind, required, positional, flag, reader, expand, first, explain, arguments, several, title
        )

    def short_for(self, name: str, option: str) -> None:
        """Declare an alias for the options below another one; help does not show it."""
        self.add(name, str, SUPPRESS, default=SUPPRESS, expand=lambda value, _: [Given(option, Word(value))])

    def has(self, option: str) -> bool:
        """Return whether an option is declared."""
        return option in self._options

    # What was given

    def given(self) -> list[Given]:
        """Return the given options in order, from words and from `--config` files."""
        if self._given is None:
            flags = [name for name, option in self._options.items() if option.flag]
            options, others = given.split(self.words, [*flags, *_PASSED, "help"])
            given_options: list[Given] = []
            for item in options:
                if item.option == "config":
                    if item.value is None:
                        raise ConfigurationError("--config needs a file")
                    given_options += given.config_of(item.value)
                else:
                    given_options.append(item)
            self._given, self._others = given_options, others
        return self._given

    def parse(self) -> Options:
        """Return the parsed options, with spaces, strategies and settings as objects."""
        items = [*self.given(), *self._placed()]
        passed = [item for item in items if item.option in _PASSED]
        asked = next((item for item in items if item.option == "help" or item.option.endswith(".help")), None)
        if asked is not None:
            self._explain(asked, items)
        if asked is not None and asked.option == "help":
            self._show(["--help"], after=self._explained(items))
        values = self._values([item for item in items if item not in passed and item is not asked])
        if asked is not None:
            self._show(self._asking(asked, values))
        if passed:
            words = [f"--{item.option}" + ("" if item.value is None else f"={item.value}") for item in passed]
            self._show(words, values)
        if missing := [name for name, option in self._options.items() if option.required and name not in values]:
            names = (name.upper() if self._options[name].positional else f"--{name}" for name in missing)
            raise RamifyError(f"missing: {', '.join(names)}; see --help")
        options = Options()
        for name, option in self._options.items():
            default = option.arguments.get("default")
            value = object_of(values[name], option.kind, Place(name), default) if name in values else default
            options.put(name.split("."), value)
        return options

    def _explain(self, asked: Given, items: Sequence[Given]) -> None:
        """Print what lies below an option whose help is asked for, and end the program; else do nothing."""
        option = self._options.get(asked.option.removesuffix(".help"))
        if option is not None and option.explain is not None:
            print(option.explain(None if asked.value is None else str(asked.value), items))
            raise SystemExit(0)

    def _explained(self, items: Sequence[Given]) -> str:
        """Return what lies below options whose explanation follows from others that were given."""
        explanations = [option.explain("", items) for option in self._options.values() if option.explain is not None]
        return "\n\n".join(filter(None, explanations))

    def _show(self, words: Sequence[str], values: Mapping[str, Any] | None = None, *, after: str = "") -> None:
        """Let the parser show what words ask for, with what comes after it, and end the program."""
        from ramify.commandline import parser

        parser.prepare(classes=self._takes_classes)
        about = f"{sentence(self.summary)}."
        shows = parser.Parser(prog=f"ramify {self.name}", description=about, allow_abbrev=False)
        shows.add_argument("--config", action="config", help="YAML file with any of the options")
        if self._takes_classes:
            shows.add_argument("--import", type=str, help=_IMPORT, default=SUPPRESS, metavar="FILE.py|MODULE")
        for name, option in self._options.items():
            shows.add_argument(name if option.positional else f"--{name}", **option.arguments)
        needed = {name: "what must be given" for name, option in self._options.items() if option.required}
        shows.arrange(needed | {name: one.title for name, one in self._options.items() if name not in needed})
        try:
            parser.answered(shows, words, values)
        except SystemExit:
            if after:
                print(f"\n{after}")
            raise

    def _placed(self) -> list[Given]:
        """Return the words that belong to no option as values of the places."""
        places = [name for name, option in self._options.items() if option.positional]
        if places and self._options[places[-1]].several and len(self._others) >= len(places):
            *single, last = places
            return [*map(Given, single, self._others), Given(last, list(self._others[len(single) :]))]
        if len(self._others) > len(places):
            raise RamifyError(f"unrecognized arguments: {' '.join(map(shown, self._others[len(places) :]))}")
        return list(map(Given, places, self._others))

    def _values(self, items: Sequence[Given]) -> dict[str, Any]:
        """Return the plain value of every option that was given."""
        values: dict[str, Any] = {}
        todo = self._expanded(items)
        while todo:
            waiting: list[tuple[Given, UnnamedError]] = []
            for item in todo:
                try:
                    self._take(values, item)
                except UnnamedError as error:  # its class may be named behind it
                    waiting.append((item, error))
            if len(waiting) == len(todo):
                raise ConfigurationError(str(waiting[0][1]))
            todo = [item for item, _ in waiting]
        return values

    def _expanded(self, items: Sequence[Given]) -> list[Given]:
        """Return what was given with what is short for something else spelt out."""
        first: list[Given] = []
        expanded: list[Given] = []
        for item in items:
            option = self._options.get(item.option)
            if option is None or option.expand is None or not isinstance(item.value, str):
                expanded.append(item)
                continue
            spelt = option.expand(item.value, self.given())
            if spelt is None:
                expanded.append(item)
            elif option.first:
                first += spelt
            else:
                expanded += self._expanded(spelt) if all(one.option != item.option for one in spelt) else spelt
        return first + expanded

    def _take(self, values: dict[str, Any], item: Given) -> None:
        """Add to the values of options what one item says."""
        path, plus = item.option.removesuffix("+"), item.option.endswith("+")
        value = item.value
        if isinstance(value, dict | None) and any(option.startswith(f"{path}.") for option in self._options):
            for below, inner in (value or {}).items():
                self._take(values, Given(f"{path}.{below}", inner, item.file))
            return
        name, rest = self._resolved(item, path)
        option = self._options[name]
        if value is None and not item.file:
            if not option.flag or path != name:
                raise ConfigurationError(f"--{shown(item.option)} needs a value")
            value = True
        if plus:
            rest = [*rest[:-1], f"{rest[-1]}+"] if rest else ["+"]
        place = Place(name, item.file)
        before = values[name] if name in values else option.beginning(rest, place)
        values[name] = option.reader.merged(before, option.kind, rest, value, place)

    def _resolved(self, item: Given, path: str) -> tuple[str, list[str]]:
        """Return the option that a path begins with, and the names that lead on from it."""
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            if (name := ".".join(parts[:end])) in self._options:
                return name, parts[end:]
        from ramify.commandline.suggesting import suggestion

        where = f"{item.file}: " if item.file else ""
        meant = suggestion(path, self._options, self.given())
        raise ConfigurationError(f"{where}unknown option {shown(item.option)!r}; {meant}")

    def _asking(self, asked: Given, values: Mapping[str, Any]) -> list[str]:
        """Return the words that let the parser show the help of a class."""
        path = asked.option.removesuffix(".help")
        option, below = self._resolved(asked, path)
        plain: dict[str, Any] = dict(values)
        words = []
        if asked.value is not None:
            try:
                self._take(plain, Given(path, asked.value))
            except ConfigurationError as error:
                raise ConfigurationError(str(error).replace(f"--{path}:", f"--{asked.option}:")) from None
        named = plain.get(option)
        if below and isinstance(named, dict) and "class_path" in named:
            words.append(f"--{option}={named['class_path']}")
        for name in below:
            named = named.get("init_args", {}).get(name) if isinstance(named, dict) else None
        if isinstance(named, dict) and "class_path" in named:
            return [*words, f"--{asked.option}={named['class_path']}"]
        return [*words, f"--{asked.option}"]


def printed(value: Any) -> str:
    """Return a notation as it is printed: a text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
