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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ramify.errors import RamifyError, nearest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

VERBS = {
    "demo": "search, retrain, evaluate, export and report on handwritten digits, in minutes and without a download",
    "search": "search a space with a strategy; the same command continues a search that was stopped",
    "retrain": "train a found architecture from scratch",
    "evaluate": "measure a retrained network on the test split",
    "export": "write a retrained network as model.py, safetensors, torch.export and ONNX",
    "report": "write the HTML report of a run",
    "describe": "say what an architecture is and costs, and draw its cells",
}
EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


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
    try:
        if verb not in VERBS:
            raise RamifyError(f"unknown verb {verb!r}; {nearest(verb, VERBS)}")
        return _RUN[verb](_Command(verb, rest))
    except RamifyError as error:
        print(f"ramify: {_joined(str(error))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interruption:
        print(f"ramify: {interruption or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `ramify … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower():
            raise
        print(f"ramify: there is not enough memory: {str(error).splitlines()[0][:160]}", file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        print(f"ramify: {error.filename or 'file system'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR


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

        class OneLineParser(ArgumentParser):
            def error(self, message: str, ex: Exception | None = None) -> NoReturn:
                raise RamifyError(_one_line(message, self))

        self.words = [_source_of_data(word) for word in words]
        self.parser: ArgumentParser = OneLineParser(
            prog=f"ramify {verb}", description=f"{VERBS[verb].capitalize()}.", allow_abbrev=False
        )
        self.parser.add_argument("--config", action="config", help="YAML file with any of the options")

    def add(self, name: str, kind: Any, text: str, **options: Any) -> None:
        self.parser.add_argument(name, type=kind, help=text, **options)

    def parse(self) -> Namespace:
        """Return the options with spaces, strategies and settings as objects."""
        try:
            return self.parser.instantiate(self.parser.parse_args(self.words))
        except RamifyError:
            raise
        except UnicodeDecodeError as error:
            raise RamifyError(f"--config: the file is no text ({error})") from None
        except (TypeError, ValueError) as error:
            raise RamifyError(_one_line(str(error), self.parser)) from None

    def add_data(self, text: str) -> None:
        from ramify.data import DataSpec

        self.add("--data", DataSpec | str | None, text)

    def add_machine(self) -> None:
        self.add("--device", str, "auto, cpu, cuda, cuda:1 or mps", default="auto")
        self.add("--threads", int | None, "threads of CPU operations", default=None)

    def add_run(self) -> None:
        self.add("--seed", int, "all randomness follows from it", default=0)
        self.add_machine()
        self.add("--precision", str, "32-true, 64-true, bf16-mixed or 16-mixed", default="32-true")
        self.add("--progress", bool, "whether to show progress", default=True)

    def add_network(self, text: str) -> None:
        self.add("--network", dict[str, int | float | bool | str | None] | None, text, default=None)


_DATA = "digits, cifar10, cifar100, fashion-mnist, svhn, a folder of images, a Parquet file, or hf:NAME; "
_DATA += "further options as --data.subset N and so on"


def _source_of_data(word: str) -> str:
    """`--data NAME` is short for `--data.source NAME`, so that further options of the data can follow."""
    if word == "--data" or word.startswith("--data="):
        return f"--data.source{word.removeprefix('--data')}"
    return word


def _one_line(message: str, parser: ArgumentParser) -> str:
    """Turn the parser's report, which may hold one line of an inner parser, into one line that says what is right."""
    found = re.match(r'Parser key "([\w.]+)":\s*(.*)', message.strip(), re.S)
    if not found:
        return _reason(message.strip(), "", parser)
    key, reason = found[1], _reason(found[2], found[1].rpartition(".")[2], parser)
    return f"--{key}.{reason[2:]}" if reason.startswith("--") else f"--{key}: {reason}"


def _reason(text: str, kind: str, parser: ArgumentParser) -> str:
    if text.startswith("--"):
        return text
    registry = _registries().get(kind, {})
    if registry and "is abstract" in text:
        return f"name the {kind} before its options; known: {', '.join(sorted(registry))}"
    if found := re.search(r"dot import path string: (\S+)|No module named '(\S+)'", text):
        return f"unknown {kind} {found[1] or found[2]!r}; {nearest(found[1] or found[2], registry)}"
    if "Errors:" in text:  # one for each type that an option may have; the first that is no mere mismatch tells most
        reasons = [_joined(reason) for reason in re.split(r"^\s*- ", text, flags=re.M)[1:]]
        value = text.rpartition("Given value: ")[2]
        reasons[-1] = reasons[-1].partition(" Given value type: ")[0]
        telling = [reason for reason in reasons if not reason.startswith("Expected a")]
        types = [reason.removeprefix("Expected a ") for reason in reasons if reason.startswith("Expected a")]
        return telling[0] if telling else _plain_types(f"expected {' or '.join(types)}, got {value!r}")
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
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("NoneType", "null")


def _registries() -> dict[str, Mapping[str, type]]:
    from ramify import evaluators, spaces, strategies

    return {
        "space": spaces.SPACES,
        "strategy": strategies.STRATEGIES,
        "evaluator": evaluators.EVALUATORS,
    }


# The verbs


def _search(command: _Command) -> int:
    from ramify import api
    from ramify.spaces import SPACES, Space
    from ramify.strategies import STRATEGIES, Strategy

    command.add("--space", Space, f"what to search: {', '.join(SPACES)}", required=True)
    command.add("--restriction", dict | None, "choice → table of the candidates that exist (edges × operations)")
    command.add("--strategy", Strategy, f"how: {', '.join(STRATEGIES)}; options as --strategy.epochs N", required=True)
    command.add_data(_DATA)
    command.add_network("layout of the supernet or of the trained networks, as --network.channels 16")
    command.add("--out", str, "the run folder", required=True)
    command.add_run()
    options = command.parse()
    space = options.space.restrict(options.restriction) if options.restriction else options.space
    result = api.search(space, options.strategy, options.data or "digits", network=options.network, **_shared(options))
    print(json.dumps(result.notation) if not isinstance(result.notation, str) else result.notation)
    return 0


def _retrain(command: _Command) -> int:
    from ramify import api
    from ramify.training import Recipe

    command.add("source", str | None, "run folder of a search, architecture file, or notation", nargs="?")
    command.add("--architecture", dict | str | None, "the same as an option; an architecture's JSON in a config file")
    command.add_data(f"{_DATA}; default: that of the search")
    command.add("--recipe", Recipe, "how to train, as --recipe.epochs 100", default=Recipe())
    command.add_network("layout of the network, as --network.channels 36")
    command.add("--out", str | None, "the run folder; default: `retrain` inside the search's")
    command.add_run()
    options = command.parse()
    source = options.source or options.architecture
    if source is None:
        raise RamifyError("retrain needs a run folder, an architecture file or a notation")
    if options.out is None and not _is_folder(str(source)):
        raise RamifyError(f"{str(source)[:60]!r} is no run folder; to train anything else, --out says where")
    result = api.retrain(source, options.data, recipe=options.recipe, network=options.network, **_shared(options))
    last = result.history[-1]
    print(f"{result.out}: loss {last['loss']:.4f}, training accuracy {last['accuracy']:.4f}")
    return 0


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # a long notation is no valid file name
        return False


def _shared(options: Namespace) -> dict[str, Any]:
    names = ("out", "seed", "device", "precision", "threads", "progress")
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

    command.add("source", str, "notation, architecture file, or run folder")
    command.add("--space", Space | None, f"what a notation belongs to, if it is not evident: {', '.join(SPACES)}")
    command.add_network("layout of the network, as --network.channels 36")
    command.add(
        "--input_size", tuple[int, int, int], "channels, height, width of an image, as [3,32,32]", default=(3, 32, 32)
    )
    command.add("--num_classes", int, "classes", default=10)
    command.add("--pictures", str, "folder for the pictures", default="pictures")
    command.add("--json", bool, "whether to print JSON", nargs="?", const=True, default=False)
    options = command.parse()
    found = api.describe(
        options.source,
        options.space,
        network=options.network,
        input_size=options.input_size,
        num_classes=options.num_classes,
        pictures=options.pictures,
    )
    about = dataclasses.asdict(found) | {"picture": found.pictures[0]}
    if options.json:
        print(json.dumps(about, indent=2))
        return 0
    notation = found.notation if isinstance(found.notation, str) else json.dumps(found.notation)
    print(f"{found.space}\n{notation}")
    print(f"{found.params:,} parameters, {found.macs:,} multiply-adds")
    print("\n".join(found.pictures))
    return 0


def _demo(command: _Command) -> int:
    from ramify.demo import demo

    command.add("--out", str, "the run folder", default="runs/demo")
    command.add("--seed", int, "all randomness follows from it", default=0)
    command.add("--threads", int, "threads of CPU operations; the maps are so small that one is best", default=1)
    options = command.parse()
    demo(options.out, seed=options.seed, threads=options.threads)
    return 0


_RUN: dict[str, Callable[[_Command], int]] = {
    "demo": _demo,
    "search": _search,
    "retrain": _retrain,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
    "describe": _describe,
}

if __name__ == "__main__":
    sys.exit(main())
