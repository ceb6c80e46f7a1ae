"""Every snippet of the README, the guide and the docstrings runs."""

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import ramify
from killing import forked

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language):
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S), start=1):
            yield pytest.param(code, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("code", list(snippets("python")))
def test_python_snippet(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})


HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'END'\n(.*?)^END\n", re.S | re.M)


@pytest.mark.parametrize("script", [p for p in snippets("bash") if p.id.startswith("guide")])
def test_shell_snippet(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in HERE_DOCUMENT.findall(script):
        Path(name).write_text(content)
    for line in HERE_DOCUMENT.sub("", script).replace("\\\n", "").splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "ramify"
        code, said = forked(words, tmp_path)
        assert code == 0, said
    for folder in re.findall(r"ramify report (\S+)", script):
        assert (tmp_path / folder / "report.html").exists()


@pytest.mark.parametrize("module", [m.name for m in pkgutil.walk_packages(ramify.__path__, "ramify.")])
def test_docstring_examples(module):
    if module == "ramify.__main__":
        return
    assert doctest.testmod(importlib.import_module(module)).failed == 0
