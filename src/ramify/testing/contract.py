"""`ContractError`, and how a contract is written: as promises, each with the check that looks for a breach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ramify.wording import excerpt

Subject = TypeVar("Subject")

Check = Callable[[Subject], Iterator[str]]
"""What is checked → what is wrong with it, in words that go on after "but"."""


class ContractError(AssertionError):
    """A class that does not keep its contract, in one sentence: what was expected, what happened, where to mend it."""


@dataclass(frozen=True)
class Promise(Generic[Subject]):
    """What every class of a kind keeps.

    Args:
        says: What holds, in words that go on after the name of what is checked.
        mend: What to mend where it does not.
        check: Yields what is wrong; the first is reported.
    """

    says: str
    mend: str
    check: Check[Subject]


class Contract(Generic[Subject]):
    """The promises of a kind of class, in the order in which they are checked.

    Args:
        kind: What keeps them, with its article.

    Example:
        >>> of_numbers: Contract[int] = Contract("a number")
        >>> @of_numbers.promise("is even", mend="double it")
        ... def _even(number):
        ...     if number % 2:
        ...         yield f"{number} leaves 1"
        >>> of_numbers.check(3, "three")
        Traceback (most recent call last):
        ramify.testing.contract.ContractError: three: a number is even, but 3 leaves 1; mend it: double it.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.promises: list[Promise[Subject]] = []

    def promise(self, says: str, *, mend: str) -> Callable[[Check[Subject]], Check[Subject]]:
        """Return a decorator that adds a promise with the check below it."""

        def add(check: Check[Subject]) -> Check[Subject]:
            self.promises.append(Promise(says, mend, check))
            return check

        return add

    def check(self, subject: Subject, name: str) -> None:
        """Go through all promises.

        Raises:
            ContractError: If one is broken, or the code that is checked raises anything.
        """
        __tracebackhide__ = True  # pytest shows the caller's line
        for promise in self.promises:
            wrong, cause = _first(promise.check(subject))
            if wrong:
                raise broken(f"{name}: {self.kind} {promise.says}", wrong, promise.mend) from cause


def _first(found: Iterable[str]) -> tuple[str, Exception | None]:
    """Return what is wrong first, and the error that said so if one did."""
    try:
        return next(iter(found), ""), None
    except ContractError:
        raise
    except Exception as error:  # whatever the code of others does
        return raised(error), error


def raised(error: BaseException) -> str:
    """Return what is said of an error that the code of others raised."""
    text = " ".join(str(error).split())
    return (
        f"it raised {type(error).__name__}: {excerpt(text, 300)[1:-1]}" if text else f"it raised {type(error).__name__}"
    )


def broken(expected: str, happened: str, mend: str) -> ContractError:
    """Return the error of a promise that is not kept."""
    return ContractError(" ".join(f"{expected}, but {happened}; mend it: {mend}.".split()))


def unfrozen(subject: Any) -> bool:
    """Return whether the settings of an object are a dataclass that can be changed."""
    parameters = getattr(type(subject), "__dataclass_params__", None)
    return parameters is not None and not parameters.frozen


def called(subject: Any) -> str:
    """Return what messages call a class, a function or an object."""
    return getattr(subject, "__name__", None) or type(subject).__name__
