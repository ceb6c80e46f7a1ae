"""The command line: one verb each, `ramify VERB --help` says what can be chosen.

Only the parser of the verb that was called is built, and PyTorch is imported when the verb needs it, so
`ramify --help` is there at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ramify import parallel
from ramify.errors import RamifyError, nearest
from ramify.signals import EXIT_INTERRUPTED, INTERRUPTED, answered
from ramify.wording import sentence

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from ramify.zoo import Entry

VERBS = {
    "demo": "search, retrain, evaluate, export and report on handwritten digits, in minutes and without a download",
    "search": "search a space with a strategy; the same command continues a search that was stopped",
    "shrink": "shrink a space by the angles of a supernet (ABS); search takes what is left as --space",
    "retrain": "train a found architecture from scratch",
    "evaluate": "measure a retrained network on the test split",
    "export": "write a retrained network as model.py, safetensors, torch.export and ONNX",
    "report": "write the HTML report of a run",
    "describe": "say what an architecture is and costs, and draw its cells",
    "zoo": "list the published architectures; zoo:NAME stands for one wherever an architecture is expected",
    "recipes": "list the published settings; --recipe NAME searches or retrains with them",
    "bench": "tables of measured architectures, looked up instead of trained",
    "doctor": "say what this machine has: versions, extras, devices, threads, folders, and what stands in the way",
}
EXIT_ERROR = 2
_TAKE_IMPORTS = frozenset(VERBS) - {"demo", "zoo", "recipes", "doctor"}
_IMPORT = "file or module with classes of your own, then known by their names like the library's; may be repeated"
_LAYOUT = dict[str, int | float | bool | str | None] | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from ramify import __version__

        print(f"ramify {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    name = "ramify"
    if not parallel.is_first():  # started by torchrun: results are printed once, and errors say whose they are
        name = f"ramify (process {parallel.rank()})"
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 -- until this process ends
    try:
        if verb not in VERBS:
            raise RamifyError(f"unknown verb {verb[:40]!r}; {nearest(verb, VERBS)}")
        return _RUN[verb](_Command(verb, rest))
    except RamifyError as error:
        print(f"{name}: {_cut(_joined(str(error)))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interruption:
        print(f"{name}: {str(interruption) or INTERRUPTED}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `ramify … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower():
            raise
        print(f"{name}: there is not enough memory: {str(error).splitlines()[0][:160]}", file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        line = f"{error.filename or 'file system'}: {error.strerror or error}"
        print(f"{name}: {_cut(_joined(line))}", file=sys.stderr)
        return EXIT_ERROR


_LONGEST = 290  # characters of a message


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[3 - _LONGEST // 2 :]}"


def _overview() -> str:
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        "Ramify: neural architecture search on PyTorch.\n\n"
        f"usage: ramify VERB [options]\n\n{listing}\n\n"
        "`ramify VERB --help` lists the options of a verb. A first look: `ramify demo`."
    )


class _Command:
    """A verb's words and the parser that understands them."""

    def __init__(self, verb: str, words: Sequence[str]) -> None:
        from jsonargparse import ArgumentParser

        from ramify import words as given

        class OneLineParser(ArgumentParser):
            def __init__(self, **options: Any) -> None:
                super().__init__(**{**options, "parser_mode": given.MODE})

            def error(self, message: str, ex: Exception | None = None) -> NoReturn:
                raise RamifyError(_one_line(message, self))

        given.check(words)
        imported = verb in _TAKE_IMPORTS
        if imported:
            _registries()  # whose names are taken
            words = given.without_imports(_spelt_out(words))
        given.prepare_parser(classes=imported)
        words = given.with_configs(words)
        self.words = _with_notations([_source_of_data(word) for word in words])
        if verb in ("search", "shrink", "retrain", "describe"):
            self.words = _with_space(self.words, restricted=verb in ("search", "shrink"))
        if verb in ("search", "shrink", "retrain"):
            self.words = _with_recipe(verb, self.words)
        self.parser: ArgumentParser = OneLineParser(
            prog=f"ramify {verb}", description=f"{sentence(VERBS[verb])}.", allow_abbrev=False
        )
        self.parser.add_argument("--config", action="config", help="YAML file with any of the options")
        if imported:
            self.add("--import", str, _IMPORT, default=SUPPRESS, metavar="FILE.py|MODULE")

    def add(self, name: str, kind: Any, text: str, **options: Any) -> None:
        self.parser.add_argument(name, type=kind, help=text, **options)

    def parse(self) -> Namespace:
        """Return the options with spaces, strategies and settings as objects."""
        try:
            return self.parser.instantiate(_with_cells(self._parsed()))
        except RamifyError:
            raise
        except (TypeError, ValueError) as error:
            raise RamifyError(_one_line(str(error), self.parser)) from None

    def _parsed(self) -> Namespace:
        from ramify import words as given

        options = {option for action in self.parser._actions for option in action.option_strings}
        below = {option.rpartition(".")[0] for option in options if not option.endswith((".help", "+"))}
        try:
            return self.parser.parse_args(given.with_groups(self.words, sorted(options & below)))
        except (KeyError, IndexError, AttributeError, RecursionError) as error:  # what the parser is not made for
            raise RamifyError(f"the options cannot be understood ({_joined(str(error))[:120]}); see --help") from None

    def add_data(self, text: str) -> None:
        from ramify.data import DataSpec

        self.add("--data", DataSpec | str | None, text)

    def add_machine(self) -> None:
        self.add("--device", str, "auto, cpu, cuda, cuda:1 or mps", default="auto")
        self.add("--threads", int | None, "threads of CPU operations", default=None)

    def add_run(self) -> None:
        self.add("--seed", int, "all randomness follows from it", default=0)
        self.add_machine()
        self.add("--devices", int, "how many devices share every batch, each in a process of its own", default=1)
        self.add("--precision", str, "32-true, 64-true, bf16-mixed or 16-mixed", default="32-true")
        self.add("--progress", bool, "whether to show progress", default=True)

    def add_json(self) -> None:
        self.add("--json", bool, "whether to print JSON", nargs="?", const=True, default=False)

    def add_network(self, text: str) -> None:
        self.add("--network", _LAYOUT, text, default=None)


_DATA = (
    "digits, cifar10, cifar100, mnist, fashion-mnist, svhn, a folder of images, a Parquet or .npz file, or hf:NAME; "
)
_DATA += "further options as --data.subset N and so on"


def _source_of_data(word: str) -> str:
    """`--data NAME` is short for `--data.source NAME`, so that further options of the data can follow."""
    if word == "--data" or word.startswith("--data="):
        return f"--data.source{word.removeprefix('--data')}"
    return word


def _spelt_out(words: Sequence[str]) -> list[str]:
    """`--executor ray --address X` is short for `--executor ray --executor.address X`."""
    if not any(word.partition("=")[0] == "--executor" for word in words):
        return list(words)
    return [re.sub("^--address(?==|$)", "--executor.address", word) for word in words]


def _with_notations(words: list[str]) -> list[str]:
    """Read the values of options that take an architecture and look like YAML, which has other rules for quotes."""
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if equals and option in _NOTATIONS:
            word = f"{option}={_as_json(value)}"
        found.append(_as_json(word) if found and found[-1] in _NOTATIONS else word)
    return found


_NOTATIONS = ("--space.cell", "--architecture")


def _as_json(value: str) -> str:
    if not value.lstrip().startswith(("{", "[", "(")):
        return value
    from ramify import api

    return json.dumps(api.architecture_of(value).to_dict())


def _with_cells(options: Namespace) -> Namespace:
    """Read the cells of `--space.cell SOURCE`, where SOURCE is anything that stands for an architecture."""
    space = options.get("space")
    arguments = space.get("init_args") if space else None
    source = arguments.get("cell") if arguments else None
    if arguments is not None and isinstance(source, str):
        from ramify import api

        arguments["cell"] = api.architecture_of(source).to_dict()
    return options


def _with_lists(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Put the values of options that take lists in brackets, where they are only separated by commas."""
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if equals and option in options:
            word = f"{option}={_bracketed(value)}"
        found.append(_bracketed(word) if found and found[-1] in options else word)
    return found


def _bracketed(values: str) -> str:
    return values if values.startswith(("[", "--")) or values == "null" else f"[{values}]"


def _with_recipe(verb: str, words: list[str]) -> list[str]:
    """Put what `--recipe NAME` stands for before all other words, which so override it.

    A training has an option of that name, a group; it may still be given as JSON or as a file.
    """
    from ramify import recipes

    first: list[str] = []
    others: list[str] = []
    source = _source_in(words)
    asks_for_help = any(word in ("-h", "--help") or word.endswith(".help") for word in words)
    rest = iter(words)
    for word in rest:
        option, _, name = word.partition("=")
        if option == "--recipe":
            name = name or next(rest, "")
            if verb != "retrain" or not (name.startswith("{") or Path(name).suffix):
                recipe = recipes.get(name, verb)
                if not asks_for_help:
                    recipe.check_data(source)
                first += ["--config", json.dumps(recipe.options_for(source))]
                continue
            word = f"{option}={name}"
        others.append(word)
    return first + others


def _source_in(words: Sequence[str]) -> str | None:
    """Return the source of the data that `words`, or configurations in them, give last."""
    from ramify import words as given

    found = None
    for _, _, option, value in given.options_of(words):
        if option == "--data.source":
            found = value
        elif option == "--config":
            data = json.loads(value).get("data")
            source = data.get("source") if isinstance(data, dict) else data
            found = found if source is None else str(source)
    return found


def _with_space(words: list[str], *, restricted: bool) -> list[str]:
    """Put what a file of `ramify shrink`, or its run folder, says of a space in the place of `--space FILE`.

    Args:
        words: Those of the command line.
        restricted: Whether the verb takes a restriction.
    """
    source = _value_of("--space", words)
    if not source or not (source.endswith(".json") or os.sep in source or Path(source, "space.json").is_file()):
        return words
    from ramify.spaces import create, read_description

    if _value_of("--restriction", words) is not None:
        raise RamifyError(f"--restriction: {source} restricts its space already")
    create(source)  # so that a wrong file is named
    description = read_description(source)
    found = ["--space", str(description["space"])]
    for name, value in description.get("arguments", {}).items():
        found += [f"--space.{name}", value if isinstance(value, str) else json.dumps(value)]
    if restricted and (restriction := description.get("restriction")):
        found += ["--restriction", json.dumps(restriction)]
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--space":
            next(rest)
        kept += found if word.partition("=")[0] == "--space" else [word]
    return kept


def _restricted(options: Namespace) -> Any:
    """Return the space of the options, restricted by masks or by a file with candidate lists."""
    if not options.restriction:
        return options.space
    if isinstance(options.restriction, str):
        from ramify.shrinking.lists import read_lists, restricted_by

        if not Path(options.restriction).is_file():
            raise RamifyError(
                f"--restriction: there is no file {options.restriction}; give one with a list of operators for each "
                "edge, or masks by choice, as in a space.json"
            )
        return restricted_by(options.space, read_lists(options.restriction))
    return options.space.restrict(options.restriction)


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """Return the value that `option` has last in `words`."""
    from ramify import words as given

    return {name: value for _, _, name, value in given.options_of(words)}.get(option)


def _one_line(message: str, parser: ArgumentParser) -> str:
    """Turn the parser's report, which may hold one line of an inner parser, into one line that says what is right."""
    message = message.strip().removeprefix('Parser key "config":').strip()  # whose options have names themselves
    found = re.match(r'Parser key "([\w.]+)":\s*(.*)', message, re.S)
    if not found:
        return _reason(message, "", parser)
    key, reason = found[1], _reason(found[2], found[1].rpartition(".")[2], parser)
    return f"--{key}.{reason[2:]}" if reason.startswith("--") else f"--{key}: {reason}"


_UNKNOWN_CLASS = (
    r"(?:dot import path string: |Unexpected import path format: |Importing '|No module named ')(.*?)(?:'|\s|$)"
)


def _reason(text: str, kind: str, parser: ArgumentParser) -> str:
    if found := re.match(r"(--[\w.]+)\.help: (.*)", text, re.S):
        return f"{found[1]}.help: {_reason(found[2], found[1].lstrip('-').rpartition('.')[2], parser)}"
    if text.startswith("--"):
        return text
    kind = {"strategies": "strategy"}.get(kind, kind)
    registry = _registries().get(kind, {})
    if registry and "is abstract" in text:
        return f"name the {kind} before its options; known: {', '.join(sorted(registry))}"
    if found := re.search(_UNKNOWN_CLASS, text, re.S):
        name = re.search(r"given class_path ['\"](.+?)['\"]:?\s", text, re.S) or found
        from ramify import imports

        if name[1].rpartition(".")[2] in registry:  # what is below it is unknown
            kind, name, registry = "class", found, {}
        return imports.unknown(kind or "class", name[1], registry)
    if "Errors:" in text:  # one for each type that an option may have; the first that is no mere mismatch tells most
        reasons = [_joined(reason) for reason in re.split(r"^\s*- ", text, flags=re.M)[1:]]
        value = re.sub(r"^NestedArg\(key='(\w+)', val=(.*)\)$", r"\1=\2", _joined(text.rpartition("Given value: ")[2]))
        reasons = [reason.partition(" Given value type: ")[0] for reason in reasons]
        telling = [reason for reason in reasons if not reason.startswith(("Expected a", "Does not validate"))]
        types = [reason.removeprefix("Expected a ") for reason in reasons if reason.startswith("Expected a")]
        return telling[0] if telling else _plain_types(f"expected {' or '.join(dict.fromkeys(types))}, got {value!r}")
    if found := re.search(r"(?:nrecognized arguments: --|Option ')([\w.-]+)", text):
        options = [option.lstrip("-") for action in parser._actions for option in action.option_strings]
        known = [name for name in options if len(name) > 1 and not name.endswith(("help", "shtab", "+"))]
        return f"unknown option {found[1]!r}; {nearest(found[1], known)}"
    if found := re.search(r"arguments are required: (.*)", text):
        options = [option for action in parser._actions for option in action.option_strings]
        missing = (f"--{name}" if f"--{name}" in options else name.upper() for name in found[1].split(", "))
        return f"missing: {', '.join(missing)}; see --help"
    if found := re.match(r"Expected an? (.*?)\. Got value: (.*)", text, re.S):
        return _plain_types(f"expected {found[1]}, got {found[2]!r}")
    return _joined(text)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _plain_types(text: str) -> str:
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("NoneType", "null")
    return re.sub(r"typing\.Literal\[(.*?)\]", lambda found: found[1].replace(", ", " or "), text)


def _registries() -> Mapping[str, Mapping[str, Any]]:
    from ramify import evaluators, executors, spaces, strategies  # noqa: F401
    from ramify.registry import registries

    return registries


# The verbs


def _search(command: _Command) -> int:
    from ramify import api
    from ramify.executors import Executor
    from ramify.spaces import SPACES, Space
    from ramify.strategies import STRATEGIES, Strategy

    if names := _levels_in(command.words):
        return _search_levels(command, names)
    command.words = _with_lists(command.words, ("--strategy.objectives", "--strategy.reference"))
    command.add("--space", Space, f"what to search: {', '.join(SPACES)}", required=True)
    command.add("--restriction", dict | str | None, _RESTRICTION)
    command.add("--strategy", Strategy, f"how: {', '.join(STRATEGIES)}; options as --strategy.epochs N", required=True)
    command.add_data(_DATA)
    command.add_network("layout of the supernet or of the trained networks, as --network.channels 16")
    command.add("--table", str | None, "table of the space, or its CSV file: its values go into progress and history")
    command.add(
        "--executor",
        Executor | None,
        "where architectures are evaluated one by one: local (the default), processes, as --executor.processes 2, or "
        "ray, as --executor.address HOST:PORT",
    )
    command.add("--recipe", str | None, "a name from `ramify recipes`; other options override what it sets")
    command.add("--out", str, "the run folder", required=True)
    command.add_run()
    options = command.parse()
    if options.recipe is not None:
        raise RamifyError("`recipe` is an option of the command line; a configuration file gives the values themselves")
    result = api.search(
        _restricted(options),
        options.strategy,
        options.data,
        network=options.network,
        table=options.table,
        executor=options.executor,
        **_shared(options),
    )
    print(json.dumps(result.notation) if not isinstance(result.notation, str) else result.notation)
    return 0


_RESTRICTION = "choice → table of the candidates that exist (edges × operations), or a JSON file with candidate lists"


def _shrink(command: _Command) -> int:
    from ramify import api
    from ramify.shrinking import Shrinking
    from ramify.spaces import SPACES, Space

    command.add("--space", Space, f"what to shrink: {', '.join(SPACES)}, or the file of a space", required=True)
    command.add("--restriction", dict | str | None, _RESTRICTION)
    command.add("--shrinking", Shrinking, "how, as --shrinking.first_epochs 100", default=Shrinking())
    command.add_data(_DATA)
    command.add_network("layout of the supernet, as --network.channels 16")
    command.add("--recipe", str | None, "a name from `ramify recipes`; other options override what it sets")
    command.add("--out", str, "the run folder", required=True)
    command.add_run()
    options = command.parse()
    if options.recipe is not None:
        raise RamifyError("`recipe` is an option of the command line; a configuration file gives the values themselves")
    result = api.shrink(
        _restricted(options),
        options.data or "digits",
        shrinking=options.shrinking,
        network=options.network,
        **_shared(options),
    )
    found = result.summary
    print(f"{result.out}/space.json: {found['members']:,} of {found['members_before']:,} members are left")
    return 0


def _levels_in(words: Sequence[str]) -> list[str]:
    """Return the names of the levels that the configurations in `words` consist of; none for a single search."""
    from ramify import words as given
    from ramify.reading import shown

    names: dict[str, None] = {}
    for _, _, option, value in given.options_of(words):
        if option == "--config":
            levels = json.loads(value).get("levels") or {}
            if not isinstance(levels, dict):
                raise RamifyError(f"--config: `levels` must be names with options, got {shown(levels)}")
            names |= dict.fromkeys(levels)
    if wrong := next((name for name in names if not re.fullmatch(r"[\w-]+", name)), None):
        raise RamifyError(f"--config: level {shown(wrong)!r}: a name is letters, digits, `-` and `_`")
    return list(names)


def _search_levels(command: _Command, names: Sequence[str]) -> int:
    from ramify.pipeline import TRAINING, Level, search_levels
    from ramify.spaces import Space
    from ramify.strategies import Strategy
    from ramify.training import Recipe

    for name in names:
        command.add(f"--levels.{name}.space", Space, f"what level {name} searches", required=True)
        command.add(f"--levels.{name}.strategy", Strategy, "how", required=True)
        command.add(f"--levels.{name}.network", _LAYOUT, "layout of its supernet", default=None)
        command.add(f"--levels.{name}.around", str | None, "the level whose result are its cells", default=None)
    command.add(f"--{TRAINING}.recipe", Recipe | None, "how the last level's architecture is trained", default=None)
    command.add(f"--{TRAINING}.network", _LAYOUT, "layout of the trained network", default=None)
    command.add_data(_DATA)
    command.add("--out", str, "the run folder", required=True)
    command.add_run()
    options = command.parse()
    levels = {
        name: Level(found.space, found.strategy, found.network or {}, found.around)
        for name, found in ((name, options.levels[name]) for name in names)
    }
    training = options[TRAINING]
    result = search_levels(
        levels,
        options.data,
        recipe=training.recipe,
        network=training.network,
        **_shared(options),
    )
    for name, level in result.levels.items():
        print(f"{name}: {level.notation if isinstance(level.notation, str) else json.dumps(level.notation)}")
    return 0


def _retrain(command: _Command) -> int:
    from ramify import api
    from ramify.spaces import SPACES, Space
    from ramify.training import Recipe

    command.add("source", str | None, "run folder of a search, notation, zoo:NAME, or a file with one", nargs="?")
    command.add("--architecture", dict | str | None, "the same as an option; an architecture's JSON in a config file")
    command.add_data(f"{_DATA}; default: that of the search")
    text = "how to train: a name from `ramify recipes`, as --recipe NAME, and single values, as --recipe.epochs 100"
    command.add("--recipe", Recipe, text, default=Recipe())
    command.add("--space", Space | None, f"what a notation belongs to, if it is not evident: {', '.join(SPACES)}")
    command.add_network("layout of the network, as --network.channels 36")
    command.add("--out", str | None, "the run folder; default: `retrain` inside the search's")
    command.add_run()
    options = command.parse()
    source = options.source or options.architecture
    if source is None:
        raise RamifyError("retrain needs a run folder, an architecture file, a notation or zoo:NAME")
    if options.out is None and not _is_folder(str(source)):
        raise RamifyError(f"{str(source)[:60]!r} is no run folder; to train anything else, --out says where")
    chosen = {name: options[name] for name in ("recipe", "space", "network")}
    result = api.retrain(source, options.data, **chosen, **_shared(options))
    last = result.history[-1]
    print(f"{result.out}: loss {last['loss']:.4f}, training accuracy {last['accuracy']:.4f}")
    return 0


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # a long notation is no valid file name
        return False


def _shared(options: Namespace) -> dict[str, Any]:
    names = ("out", "seed", "device", "devices", "precision", "threads", "progress")
    return {name: options[name] for name in names}


def _evaluate(command: _Command) -> int:
    from ramify import api

    command.add("source", str, "run folder of a retraining, or of its search")
    command.add_data(f"{_DATA}; default: that of the retraining")
    command.add("--split", str, "test, train, search_train or search_validation", default="test")
    command.add_machine()
    options = command.parse()
    result = api.evaluate(
        options.source, options.data, split=options.split, device=options.device, threads=options.threads
    )
    print(json.dumps(dataclasses.asdict(result), indent=2))
    return 0


def _export(command: _Command) -> int:
    from ramify import api

    command.add("source", str, "run folder of a retraining, or of its search")
    command.add("--out", str | None, "where to; default: `export` inside the run folder")
    options = command.parse()
    result = api.export(options.source, options.out)
    for name, difference in result.differences.items():
        print(f"{name}: largest difference {difference:.1e}", file=sys.stderr)
    print(result.folder)
    return 0


def _report(command: _Command) -> int:
    from ramify import api

    command.add("source", str, "run folder")
    options = command.parse()
    print(api.write_report(options.source))
    return 0


def _describe(command: _Command) -> int:
    from ramify import api
    from ramify.spaces import SPACES, Space

    command.add(
        "source", str, "notation, run folder, zoo:NAME, or a file with one: architecture, log, genotypes.py:NAME"
    )
    command.add("--space", Space | None, f"what a notation belongs to, if it is not evident: {', '.join(SPACES)}")
    command.add_network("layout of the network, as --network.channels 36; overrides that of the run")
    command.add(
        "--input_size",
        tuple[int, int, int] | None,
        "channels, height, width of an image, as 3,32,32; default: as in the run, else 3,32,32",
    )
    command.add("--num_classes", int | None, "classes; default: as in the run, else 10")
    command.add("--pictures", bool | str, "folder for the pictures; false: none are drawn", default="pictures")
    command.add_json()
    command.words = [re.sub(r"^(--input_size=)?(-?\d+(?:,-?\d+)+)$", r"\1[\2]", word) for word in command.words]
    options = command.parse()
    found = api.describe(
        options.source,
        options.space,
        network=options.network,
        input_size=options.input_size,
        num_classes=options.num_classes,
        pictures="pictures" if options.pictures is True else options.pictures or None,
    )
    if options.json:
        published = None if found.published is None else found.published.to_dict()
        about = dataclasses.asdict(found) | {"picture": next(iter(found.pictures), None), "published": published}
        print(json.dumps(about, indent=2))
        return 0
    notation = found.notation if isinstance(found.notation, str) else json.dumps(found.notation)
    print(f"{found.space}\n{notation}")
    size = " × ".join(map(str, found.input_size))
    layout = ", ".join(f"{name} {value}" for name, value in found.network.items()) or "of the defaults"
    print(f"layout {layout}; images {size}, {found.num_classes} classes")
    print(f"{found.params:,} parameters, {found.macs:,} multiply-adds of convolutions and linear layers")
    print(f"(with batch norms and global poolings, as thop counts: {found.thop:,})")
    if found.published is not None:
        _print_entry(found.published)
    print("".join(f"{picture}\n" for picture in found.pictures), end="")
    return 0


def _print_entry(entry: Entry) -> None:
    print(f"{entry.name}, {entry.about}: {entry.source}")
    for figure in entry.figures:
        print(f"  published: {figure}")
    if entry.figures_from:
        print(f"  printed in: {entry.figures_from}")
    for name, network in entry.networks.items():
        layout = " ".join(f"--network.{key} {value}" for key, value in network.layout.items())
        size = ",".join(map(str, network.input_size))
        thop = "" if network.thop is None else f" ({network.thop:,} as thop counts)"
        shape = f"{layout} --input_size {size} --num_classes {network.num_classes}"
        print(f"  network {name}: {network.params:,} parameters, {network.macs:,} multiply-adds{thop}; {shape}")


def _zoo(command: _Command) -> int:
    from ramify import zoo

    command.add_json()
    options = command.parse()
    if options.json:
        print(json.dumps([entry.to_dict() for entry in zoo.entries()], indent=2))
        return 0
    families: dict[str, list[Sequence[str]]] = {}
    for entry in zoo.entries():
        network, figure, published = next(iter(entry.networks.values()), None), entry.headline, ""
        if figure is not None:
            remark = ", ".join(filter(None, (figure.note.split(",")[0], "recalled" if figure.recalled else "")))
            published = f"{figure.data} {figure.metric} {figure.number} %{f' ({remark})' if remark else ''}"
        cost = ("", "") if network is None else (f"{network.params / 1e6:.2f}", f"{network.macs / 1e6:.1f}")
        row = (entry.name, *cost, published, entry.about)
        families.setdefault(entry.family, []).append(row)
    for family, rows in families.items():
        _print_table(family, ("name", "M params", "M mult-adds", "published", "what it is"), rows)
    return 0


def _recipes(command: _Command) -> int:
    from ramify import recipes

    command.add_json()
    options = command.parse()
    if options.json:
        listed = [
            {"name": recipe.name, "verb": recipe.verb, "title": recipe.title, "source": recipe.source}
            | {"options": recipe.options}
            for recipe in recipes.entries()
        ]
        print(json.dumps(listed, indent=2))
        return 0
    for verb in ("search", "shrink", "retrain"):
        rows = [(recipe.name, recipe.title, recipe.source) for recipe in recipes.entries(verb)]
        _print_table(f"ramify {verb} --recipe NAME", ("name", "what it is", "source"), rows)
    return 0


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn where a person reads, else in lines of aligned columns."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    print(title)
    for row in (columns, *rows):
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    print()


def _demo(command: _Command) -> int:
    from ramify.demo import demo

    command.add("--out", str, "the run folder", default="runs/demo")
    command.add("--seed", int, "all randomness follows from it", default=0)
    command.add("--threads", int, "threads of CPU operations; the maps are so small that one is best", default=1)
    options = command.parse()
    demo(options.out, seed=options.seed, threads=options.threads)
    return 0


def _bench(command: _Command) -> int:
    from ramify import bench_cli

    return bench_cli.run(command)


def _doctor(command: _Command) -> int:
    from ramify.doctor import as_text, doctor

    command.add_json()
    options = command.parse()
    found = doctor()
    print(json.dumps(dataclasses.asdict(found), indent=2) if options.json else as_text(found))
    return 0


_RUN: dict[str, Callable[[_Command], int]] = {
    "demo": _demo,
    "search": _search,
    "shrink": _shrink,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
    "describe": _describe,
    "zoo": _zoo,
    "recipes": _recipes,
    "bench": _bench,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(answered(main))
