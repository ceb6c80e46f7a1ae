"""The demonstration: as many threads as are fastest, and on continuation as many as there were."""

import pytest

from ramify.cli import main
from ramify.verbs import demo


class Searched(Exception):
    pass


@pytest.fixture
def begun(monkeypatch):
    """Return a function that gives the threads that a demonstration begins with."""

    def search(*arguments, threads, **options):
        raise Searched(threads)

    def threads_of(words=(), times=None):
        monkeypatch.setattr(demo, "by_threads", lambda step, seconds: times or pytest.fail("something is measured"))
        with pytest.raises(Searched) as found:
            main(["demo", *words])
        return found.value.args[0]

    monkeypatch.setattr(demo, "search", search)
    return threads_of


def test_threads_are_measured_once(begun, tmp_path, capsys):
    out = tmp_path / "run"
    assert begun(["--out", str(out)], {1: [0.002, 0.004, 0.003], 2: [0.001]}) == 2
    assert "3.0 ms with 1, 1.0 ms with 2: taking 2" in " ".join(capsys.readouterr().err.split())
    assert begun(["--out", str(out)], {1: [0.002], 2: [0.002]}) == 1
    assert begun(["--out", str(out), "--threads", "3"]) == 3
    out.mkdir()
    (out / "config.yaml").write_text("threads: 4\n")
    assert begun(["--out", str(out)]) == 4
    assert begun(["--out", str(out), "--threads", "3"]) == 3


def test_what_is_measured_is_a_step():
    step = demo._step()
    step()
    step()
