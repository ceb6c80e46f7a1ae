"""The page: complete, alone, safe against what is written in a run folder, and the same every time."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from synthetic_runs import HOSTILE, Example, make_one_shot, make_trials, write_config

from ramify.errors import RunError
from ramify.report import write_report
from ramify.report.folder import read_folder
from ramify.report.nextsteps import again

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Checks that tags close in the order they opened, and collects what the tests look at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.headings: list[str] = []
        self.text = self.style = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] == "style":
            self.style += data
        elif self.open and self.open[-1] != "script":
            self.text += data


def report(example: Example) -> Path:
    return write_report(example.folder, graphs=example.graphs, choices=example.choices)


def data_of(page: Page) -> dict[str, Any]:
    return json.loads(page.scripts[0])


@pytest.fixture(scope="module")
def one_shot(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A DARTS search on its cell space, retrained, exported and reported."""
    example = make_one_shot(tmp_path_factory.mktemp("runs") / "first", epochs=12)
    report(example)
    return example


@pytest.fixture(scope="module")
def multi_trial(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A reported search by trials on NAS-Bench-201 whose texts try to become part of the page."""
    example = make_trials(tmp_path_factory.mktemp("runs") / "evolution", count=30, hostile=HOSTILE)
    report(example)
    return example


def test_a_search_by_gradients_shows_every_section(one_shot: Example) -> None:
    page = Page(one_shot.page)
    assert page.headings == [
        "The architecture found", "How the search decided", "Search curves", "Retraining", "Cost and quality",
        "What was read", "Export", "Configuration", "Provenance", "Repeat it",
    ]  # fmt: skip
    for text in ("97.34", "3.35", "528", "7.18", "4", "h 00 min", "GDAS on DARTSCells", "read once", "'runs/my first'"):
        assert text in page.text
    data = data_of(page)
    titles = {f"search-{at}" for at in range(5)} | {f"retrain-train-{at}" for at in range(4)}
    assert set(data["charts"]) == titles | {"mixing-0", "mixing-1", "edge-lines", "entropy"}
    frames = [choice["frames"] for choice in data["mixing"]["choices"]]
    assert [len(frame) for frame in frames] == [12, 12]
    assert sum(filter(None, frames[0][0][0])) == pytest.approx(1000, abs=4)  # thousandths
    assert frames[0][0][3][7] is None  # the candidate that the mask excludes
    assert [pair for pair in data["mixing"]["choices"][0]["chosen"] if pair[0] in (3, 4, 5)] == [[3, 5], [5, 3]]


def test_a_search_by_trials_shows_its_trials(multi_trial: Example) -> None:
    page = Page(multi_trial.page)
    assert page.headings[:3] == ["The architecture found", "Trials", "Cost and quality"]
    data = data_of(page)
    assert set(data["charts"]) == {"trials", "trade-off"}
    assert data["mixing"] is None
    places = data["charts"]["trials"]["places"]
    assert len(places) == 30
    best = max(places, key=lambda place: place[1])  # the highest, which its text says is the best
    scores = [float(text.partition(": ")[2].partition("\n")[0]) for *_, text in places]
    assert max(scores) == scores[places.index(best)]


def test_the_page_loads_nothing(one_shot: Example, multi_trial: Example) -> None:
    for example in (one_shot, multi_trial):
        page = Page(example.page)
        policies = [attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs]
        assert policies and str(policies[0]).startswith("default-src 'none'; ")
        for tag, attrs in page.tags:
            assert "src" not in attrs or (tag == "img" and str(attrs["src"]).startswith("data:image/"))
            address = str(attrs.get("href", "#"))  # on the page, in it, or of a file beside it
            assert address.startswith(("#", "data:")) or (example.folder / unquote(address)).is_file()
            assert "xlink:href" not in attrs
        assert not re.search(r"@import|url\(", page.style)


def test_text_from_the_folder_stays_text(multi_trial: Example) -> None:
    path = multi_trial.page
    page = Page(path)
    assert len(page.scripts) == 2
    assert not any(tag == "img" and attrs.get("src") == "x" for tag, attrs in page.tags)
    assert HOSTILE in page.text
    assert "<script>alert" not in path.read_text(encoding="utf-8")
    said = data_of(page)["charts"]["trials"]["places"][0][2]
    assert "</script>" in said.replace("\n", "")  # as text: the page's own script writes it as such
    assert "</script" not in page.scripts[0]


def test_the_page_is_small(one_shot: Example, multi_trial: Example) -> None:
    assert max(example.page.stat().st_size for example in (one_shot, multi_trial)) < 400_000


def test_every_chart_is_drawn_without_a_script(one_shot: Example) -> None:
    page = Page(one_shot.page)
    charts = {attrs["id"] for tag, attrs in page.tags if tag == "div" and attrs.get("class") == "chart"}
    assert charts == data_of(page)["charts"].keys()
    assert all(attrs.get("tabindex") == "0" for _, attrs in page.tags if attrs.get("class") == "chart")
    drawn = [attrs for tag, attrs in page.tags if tag == "path" and attrs.get("class") == "line"]
    assert len(drawn) >= len([name for name in charts if not str(name).startswith("mixing")])


def test_the_same_folder_gives_the_same_bytes(one_shot: Example) -> None:
    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (one_shot.page, *(one_shot.folder / "pictures").iterdir())}

    first = contents()
    stems = ("normal", "reduce", "mixing", "curves-search", "curves-retrain-train")
    assert set(first) == {"report.html", *(f"{stem}.{kind}" for stem in stems for kind in ("svg", "png"))}
    report(one_shot)
    assert contents() == first
    assert not list(one_shot.folder.rglob(".*"))  # no temporary file is left behind


def test_a_bare_folder_gives_a_page_without_empty_sections(tmp_path: Path) -> None:
    write_config(tmp_path / "bare" / "config.yaml", "strategy:\n  class_path: ramify.strategies.DARTS\n")
    page = Page(write_report(tmp_path / "bare", graphs={}, choices=None, title="A <title>"))
    assert page.headings == ["Configuration", "Repeat it"]
    assert "A <title>" in page.text
    assert data_of(page)["charts"] == {}


def test_the_last_line_may_be_cut_off(tmp_path: Path) -> None:
    folder = make_one_shot(tmp_path).folder
    whole = read_folder(folder)
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"phase": "search", "epo')
    assert read_folder(folder) == whole


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("history.jsonl", '{"phase": "search"\n{}\n', r"history\.jsonl, line 1: not valid JSON: it is cut off"),
        ("history.jsonl", '{}\n\n{"loss": "low"}\n', r"history\.jsonl, line 3: `loss` must be a valid number, got low"),
        ("history.jsonl", '{"mixing": {"a": [[1, 2], [1]]}}\n', r"line 1: `mixing` of 'a' must be a matrix"),
        ("history.jsonl", '{"mixing": {"a": [[1]]}}\n{"mixing": {"a": [[1, 2]]}}\n', "line 2: .* 1 × 1 as before"),
        ("history.jsonl", '{"mixing": {"normal": [[1, 2]]}}\n', "is 1 × 2, but the choice has 14 edges and 8"),
        ("history.jsonl", "[1]\n", r"line 1: it must be an object, got \[1\]"),
        ("result.json", '{\n"score": }', r"result\.json: not valid JSON \(Expecting value, line 2 column 10\)"),
        ("result.json", "[1]", r"result\.json: it must be an object, got \[1\]"),
        ("config.yaml", "a: 1\nb: [1,\n", r"config\.yaml, line \d: not valid YAML"),
        ("provenance.json", b"\n\xff", r"provenance\.json, line 2: not UTF-8"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, file: str, content: str | bytes, message: str) -> None:
    example = make_one_shot(tmp_path, epochs=2)
    (example.folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=message) as caught:
        report(example)
    assert "\n" not in str(caught.value)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run folder: it has no config\.yaml"):
        write_report(tmp_path, graphs={}, choices=None)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the program chromium")
@pytest.mark.parametrize("kind", ["one_shot", "multi_trial"])
def test_a_browser_draws_it_without_complaint(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = request.getfixturevalue(kind).page
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0",
            "--virtual-time-budget=8000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    charts = data_of(Page(path))["charts"]
    assert len(re.findall(r'class="tip"', done.stdout)) == len(charts)  # the script has taken care of every chart
    if kind == "one_shot":
        assert "epoch 12 of 12" in done.stdout


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"strategy": {}, "data": {"source": "digits"}}, "search --config config.yaml --out ../again"),
        ({"levels": {}, "retrain": {}, "data": None}, "search --config config.yaml --out ../again"),
        ({"limits": {}, "strategy": {}, "network": "a:b", "data": None}, "adapt --config config.yaml --out ../again"),
        ({"recipe": {}, "data": {"source": "none"}}, "retrain --config config.yaml --out ../again"),
        ({"shrinking": {}, "data": {"source": "digits"}}, "shrink --config config.yaml --out ../again"),
        (
            {"strategy": {}, "data": {"source": "pets"}, "import": [{"file": "mine.py"}, {"module": "own"}]},
            "search --config config.yaml --import HOME/mine.py --import own --data HOME/pets --out ../again",
        ),
    ],
)
def test_the_command_that_repeats_a_run_is_of_its_verb(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "mine.py").write_text("")
    assert " ".join(again(config, str(tmp_path))).replace(str(tmp_path), "HOME") == words
