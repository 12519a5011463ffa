"""Who must agree, whose word counts, and when the asking is over."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ratchet.domain.approval import Answer, about, answer, needed, objection, same_person
from ratchet.domain.policy import Approval, ApprovalWhen, BaselineUse, Policy, WhenMissing
from ratchet.domain.records import Ask, Vote
from support.decisions import HOUR, JOB, MOMENT, START, approval, baseline, key, policy

ANA, BEN = "ana@acme.com", "ben@acme.com"
EXPIRES = START + 48 * HOUR


def yes(actor: str = ANA, at: datetime = START) -> Vote:
    return Vote(actor=actor, approves=True, at=at, reason="looks good")


def no(actor: str = ANA, at: datetime = START) -> Vote:
    return Vote(actor=actor, approves=False, at=at, reason="too terse")


def asked(*votes: Vote, **changes: Any) -> Ask:
    made = Ask(
        decision="d",
        job=JOB,
        candidate=key("3"),
        evidence="e",
        policy=policy().digest,
        asked_at=START,
        until=EXPIRES,
        votes=votes,
    )
    return replace(made, **changes)


def answered(
    ask: Ask | None, *, wanted: Approval | None = None, triggers: tuple[str, ...] = (), now: datetime = START + HOUR
) -> Answer:
    return answer(policy(approval=wanted or approval()), ask, key("3"), "e", triggers, now)


# When somebody must agree ---------------------------------------------------------------------------------------------


def need(rule: Policy, *, warns: bool = False, first: bool = False, without_baseline: bool = False) -> str | None:
    return needed(rule, warns=warns, first=first, without_baseline=without_baseline)


@pytest.mark.parametrize(
    ("when", "plain", "warning", "first"),
    [
        (ApprovalWhen.ALWAYS, "the policy always asks", "the policy always asks", "the policy always asks"),
        (ApprovalWhen.ON_WARN, None, "it warns", None),
        (ApprovalWhen.FIRST_PROMOTION, None, None, "nothing serves yet"),
        (ApprovalWhen.NEVER, None, None, None),
    ],
)
def test_people_are_asked_when_the_policy_says_so(
    when: ApprovalWhen, plain: str | None, warning: str | None, first: str | None
) -> None:
    rule = policy(approval=approval(when=when))
    assert (need(rule), need(rule, warns=True), need(rule, first=True)) == (plain, warning, first)


@pytest.mark.parametrize("when", list(ApprovalWhen))
def test_without_a_baseline_a_policy_may_ask_people_instead(when: ApprovalWhen) -> None:
    rule = policy(approval=approval(when=when), baseline=baseline(when_missing=WhenMissing.APPROVAL))
    assert need(rule, without_baseline=True) is not None
    if when is not ApprovalWhen.ALWAYS:
        assert need(rule, without_baseline=True) == "there is no baseline"
        assert need(rule) is None


@pytest.mark.parametrize(
    "use",
    [
        baseline(when_missing=WhenMissing.ALLOW),
        baseline(when_missing=WhenMissing.BLOCK),
        baseline(when_missing=WhenMissing.APPROVAL, use=BaselineUse.NONE),
    ],
)
def test_a_policy_that_does_without_a_baseline_asks_nobody_for_it(use: Any) -> None:
    assert need(policy(baseline=use), without_baseline=True) is None


# Whose word counts ----------------------------------------------------------------------------------------------------


def test_with_no_approvers_named_anybody_may_agree() -> None:
    assert objection(approval(), "whoever@else.org", None) is None


@pytest.mark.parametrize("actor", [ANA, "Ana@Acme.com", "carl@ml.acme.com"])
def test_an_approver_is_named_by_address_or_by_domain(actor: str) -> None:
    wanted = approval(approvers=("ANA@acme.com", "*@ml.acme.com"))
    assert objection(wanted, actor, ()) is None


@pytest.mark.parametrize("actor", [BEN, "ana@acme.com.evil.org", "carl@acme.com", "carl@ml.acme.comx", "xana@acme.com"])
def test_anybody_else_is_none(actor: str) -> None:
    wanted = approval(approvers=(ANA, "*@ml.acme.com"))
    assert objection(wanted, actor, ()) == f"the policy asks {ANA}, *@ml.acme.com"


def test_nobody_approves_what_they_triggered_where_the_policy_says_so() -> None:
    assert objection(approval(not_by_trigger=True), ANA, (ANA,)) == "nobody approves what they triggered"
    assert objection(approval(not_by_trigger=True), ANA, ("robot@acme.com", ANA)) is not None
    assert objection(approval(not_by_trigger=True), BEN, (ANA,)) is None
    assert objection(approval(not_by_trigger=True), ANA, ()) is None
    assert objection(approval(not_by_trigger=False), ANA, (ANA,)) is None


@pytest.mark.parametrize(
    ("actor", "trigger", "same"),
    [
        (ANA, ANA, True),
        (ANA, "ANA@ACME.COM", True),
        (ANA, "ana-acme-com", True),  # a label of Vertex holds neither @ nor dots
        ("Ana_B-1@acme.com", "ana_b-1-acme-com", True),
        (ANA, "ana", False),
        (ANA, "ana-acme-org", False),
        (ANA, BEN, False),
        ("straße@acme.com", "STRASSE@acme.com", True),
    ],
)
def test_a_person_is_known_in_both_spellings(actor: str, trigger: str, same: bool) -> None:
    assert same_person(actor, trigger) is same


# How far it has come --------------------------------------------------------------------------------------------------


def test_who_was_not_asked_yet_is_asked_from_now_on() -> None:
    now = START + 7 * HOUR
    assert answered(None, now=now) == Answer(words="0 of 1 agreed", until=now + 48 * HOUR)
    wanted = approval(least=2, approvers=(ANA, BEN), expires=timedelta(hours=1))
    assert answered(None, wanted=wanted, now=now) == Answer(words=f"0 of 2 of {ANA}, {BEN} agreed", until=now + HOUR)


@pytest.mark.parametrize(
    "other",
    [asked(yes(), candidate=key("2")), asked(yes(), evidence="other"), asked(yes(), policy="other")],
    ids=["another candidate", "other evidence", "another policy"],
)
def test_a_vote_on_anything_else_is_void(other: Ask) -> None:
    assert not about(other, key("3"), "e", policy().digest)
    assert answered(other) == Answer(words="0 of 1 agreed", until=START + 49 * HOUR)


def test_an_ask_about_this_is_this() -> None:
    assert about(asked(), key("3"), "e", policy().digest)


def test_enough_people_grant_it() -> None:
    assert answered(asked(yes())) == Answer(words=f"agreed: {ANA}", until=EXPIRES, granted=True)
    two = approval(least=2)
    assert answered(asked(yes()), wanted=two) == Answer(words="1 of 2 agreed", until=EXPIRES)
    assert answered(asked(yes(BEN), yes()), wanted=two).words == f"agreed: {ANA}, {BEN}"
    assert answered(asked(yes(BEN), yes()), wanted=two).granted


def test_those_who_agreed_are_named_in_one_order() -> None:
    people = [f"{name}@acme.com" for name in "hcgbfaed"]
    assert answered(asked(*map(yes, people))).words == f"agreed: {', '.join(sorted(people))}"


def test_one_person_is_one_however_often_and_however_written() -> None:
    twice = asked(yes(), yes("ANA@acme.com"))
    assert answered(twice, wanted=approval(least=2)) == Answer(words="1 of 2 agreed", until=EXPIRES)


def test_one_rejection_refuses_it_however_many_agree() -> None:
    found = answered(asked(yes(), no(BEN)))
    assert found == Answer(words=f"{BEN} rejected it: too terse", until=EXPIRES, refused=True)


def test_words_that_do_not_count_neither_grant_nor_refuse() -> None:
    wanted = approval(approvers=("*@acme.com",), not_by_trigger=True)
    ask = asked(yes("eve@evil.org"), no("eve@evil.org"), no(), yes())
    assert answered(ask, wanted=wanted, triggers=(ANA,)) == Answer(words="0 of 1 of *@acme.com agreed", until=EXPIRES)


def test_an_approval_expires_when_nobody_has_agreed_in_time() -> None:
    assert answered(asked(), now=EXPIRES - MOMENT) == Answer(words="0 of 1 agreed", until=EXPIRES)
    expired = Answer(words="the approval expired: 0 of 1 had agreed", until=EXPIRES, refused=True)
    assert answered(asked(), now=EXPIRES) == expired
    assert answered(asked(), now=EXPIRES + HOUR) == expired


def test_what_was_granted_in_time_stays_granted() -> None:
    assert answered(asked(yes(at=EXPIRES - MOMENT)), now=EXPIRES + HOUR).granted


def test_a_vote_after_the_expiry_comes_too_late() -> None:
    assert answered(asked(yes(at=EXPIRES)), now=EXPIRES + HOUR).refused
    assert answered(asked(no(at=EXPIRES), yes()), now=EXPIRES + HOUR).granted
