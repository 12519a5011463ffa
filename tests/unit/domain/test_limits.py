"""Time-outs are one chain, and waiting is jittered and capped."""

from dataclasses import fields
from datetime import timedelta

import pytest

from ratchet.domain.limits import DENIED_WAIT, READ_BACK, SETTLE, Limits, backoff

CHAIN = "^limits: slice < budget < function_timeout < ack_deadline < lease does not hold$"


def test_the_limits_that_are_in_force() -> None:
    assert {field.name: getattr(Limits(), field.name) for field in fields(Limits)} == {
        "budget": 90,
        "function_timeout": 110,
        "ack_deadline": 120,
        "lease": 150,
        "provider_timeout": 20,
        "slice": 60,
        "skew": 10,
    }
    assert (*READ_BACK, SETTLE) == (2.0, 5.0, 15.0, 30.0)
    assert timedelta(minutes=10) == DENIED_WAIT


@pytest.mark.parametrize(
    ("name", "value"),
    [("slice", 0), ("slice", 90), ("budget", 110), ("function_timeout", 120), ("ack_deadline", 150), ("lease", 120)],
)
def test_whatever_holds_a_lease_has_stopped_before_it_ends(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=CHAIN):
        Limits(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("provider_timeout", 140), ("provider_timeout", -10), ("skew", 130)])
def test_a_call_of_a_provider_ends_within_the_lease(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"^limits: provider_timeout \+ skew must be less than lease$"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    "limits",
    [{"slice": 0.5}, {"slice": 89}, {"ack_deadline": 149}, {"provider_timeout": 139}, {"provider_timeout": -9}],
)
def test_just_within_the_limits_is_within(limits: dict[str, float]) -> None:
    assert Limits(**limits)


@pytest.mark.parametrize(
    ("tries", "fraction", "floor", "seconds"),
    [
        (0, 1.0, None, 10),
        (1, 1.0, None, 20),
        (5, 1.0, None, 320),
        (6, 1.0, None, 600),
        (50, 1.0, None, 600),
        (2, 0.5, None, 20),
        (0, 0.0, None, 1),
        (0, 0.05, None, 1),
        (0, 0.0, 0.0, 1),
        (0, 0.0, 30, 30),
        (0, 1.0, 5, 10),
        (0, 0.0, 3600, 3600),
        (0, 0.0, 3601, 3600),
        (0, 0.0, 0.5, 1),
    ],
)
def test_backoff_is_jittered_capped_and_never_before_what_was_asked(
    tries: int, fraction: float, floor: float | None, seconds: float
) -> None:
    assert backoff(tries, fraction, floor) == timedelta(seconds=seconds)


def test_no_number_of_tries_is_too_large() -> None:
    assert backoff(10**6, 1.0) == timedelta(minutes=10)
