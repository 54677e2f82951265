"""Comparing, for check.py and dashboard.py: fails with the first difference, or if something that must fail does not."""

import datetime

import trino


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def difference(one, other) -> str:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(a, b) for a, b in zip(one, other) if a != b]
        return ", ".join(f"{a!r} instead of {b!r}" for a, b in pairs)
    return f"{one!r} instead of {other!r}"


def equal(what: str, found, wanted) -> None:
    """Fails with the first difference."""
    if found == wanted:
        return
    if isinstance(found, list) and isinstance(wanted, list):
        for number, (one, other) in enumerate(zip(found, wanted)):
            if one != other:
                raise AssertionError(f"{what}: row {number}: {difference(one, other)}")
        raise AssertionError(f"{what}: {len(found)} rows instead of {len(wanted)}")
    raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


def fails(what: str, how: str, check) -> str:
    """Runs a check that must fail, with an error that says `how`; gives the error."""
    try:
        check()
    except (AssertionError, trino.exceptions.Error) as error:
        said = str(error)
        if how not in said:
            raise AssertionError(f"{what} failed for another reason: {said}") from error
        return said.splitlines()[0][:150]
    raise AssertionError(f"{what} was not noticed")
