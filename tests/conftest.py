"""Settings for all tests."""

import gc
import signal

import hypothesis
import pytest
import torch

from ramify import imports

# Most tensors here are tiny: more threads would only wait for each other, and a busy machine makes that very slow.
torch.set_num_threads(1)

# In the background of a shell interrupts are ignored, and so they would be by the commands that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("ramify", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ramify")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what is tested on large cases, before slow tests are left out."""
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if getattr(case, "large", False):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Thousands of tests stay in memory; the collector of garbage need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _what_a_test_imports_ends_with_it():
    yield
    imports.forget()


@pytest.fixture(autouse=True)
def _same_draws_every_time():
    torch.manual_seed(0)
