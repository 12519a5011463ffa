"""OpenAI's webhooks, judged by OpenAI's own verifier."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest

from ratchet_sim.scenario import Scenario
from ratchet_sim.webhooks import sign
from support.sim_clients import (
    OPENAI_JOB,
    SECRET,
    Received,
    Receiver,
    differences,
    openai_client,
    providers,
    sample,
    small,
    until,
)

OLD_SECRET = "whsec_" + b64encode(b"the secret before the rotation, 32b").decode()


def today(*hooks: dict[str, Any], secrets: tuple[str, ...] = (SECRET,)) -> Scenario:
    """The OpenAI job ended a minute ago by everybody's clock, so that the SDK's verifier accepts the stamps."""

    def change(spec: Any) -> None:
        spec["clock"]["start"] = datetime.now(UTC).isoformat()
        spec["accounts"][1]["webhook_secrets"] = list(secrets)
        spec["jobs"] = [spec["jobs"][1] | {"created": "-1h", "running": "-1h", "ends": {"at": "-1m"}}]
        spec["jobs"][0]["webhooks"] = list(hooks)

    return small(change, factor=1)


def unwrap(received: Received, secret: str = SECRET) -> Any:
    return openai_client("http://127.0.0.1:1", secret=secret).webhooks.unwrap(received.body, received.headers)


def statuses(state: dict[str, Any]) -> list[list[int]]:
    return [[attempt["status"] for attempt in hook["attempts"]] for hook in state["webhooks"]]


def test_the_signature_of_the_fixed_vector_is_reproduced() -> None:
    vector = sample("openai_webhook_signed_vector")
    headers, body = vector["request"]["headers"], vector["request"]["raw_body"].encode()
    signature = sign(vector["secret"], headers["webhook-id"], headers["webhook-timestamp"], body)
    assert signature == headers["webhook-signature"]


def test_a_webhook_is_accepted_by_the_sdk_and_shaped_like_the_sample(tmp_path: Path) -> None:
    with Receiver() as receiver, providers(today({"type": "fine_tuning.job.succeeded"}), tmp_path) as p:
        p.sim.set_webhook_url(receiver.url)
        received = receiver.take()
        until(lambda: statuses(p.sim.state()) == [[200]])
        assert p.sim.state()["exhausted"]
    event = unwrap(received)
    assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", OPENAI_JOB)
    assert differences(json.loads(received.body), sample("openai_webhook_succeeded")) == []


def test_a_forged_webhook_is_refused_by_the_sdk_and_not_sent_again(tmp_path: Path) -> None:
    forged = {"type": "fine_tuning.job.succeeded", "forged": True}
    with Receiver(401) as receiver, providers(today(forged), tmp_path) as p:
        p.sim.set_webhook_url(receiver.url)
        received = receiver.take()
        until(lambda: p.sim.state()["exhausted"])
        assert statuses(p.sim.state()) == [[401]]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(received)


def test_copies_share_their_id(tmp_path: Path) -> None:
    with (
        Receiver() as receiver,
        providers(today({"type": "fine_tuning.job.succeeded", "copies": 3}), tmp_path) as p,
    ):
        p.sim.set_webhook_url(receiver.url)
        received = [receiver.take() for _ in range(3)]
    assert len({item.headers["webhook-id"] for item in received}) == 1
    assert [unwrap(item).data.id for item in received] == [OPENAI_JOB] * 3


def test_during_a_rotation_both_secrets_sign(tmp_path: Path) -> None:
    scenario = today({"type": "fine_tuning.job.succeeded"}, secrets=(SECRET, OLD_SECRET))
    with Receiver() as receiver, providers(scenario, tmp_path) as p:
        p.sim.set_webhook_url(receiver.url)
        received = receiver.take()
    assert unwrap(received, SECRET).id == unwrap(received, OLD_SECRET).id


def _verified(received: Received) -> datetime:
    """The SDK's check without its clock: the scenario's time is not the test's."""
    stamp = received.headers["webhook-timestamp"]
    signed = f"{received.headers['webhook-id']}.{stamp}.".encode() + received.body
    mac = hmac.new(b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert received.headers["webhook-signature"] == "v1," + b64encode(mac.digest()).decode()
    return datetime.fromtimestamp(int(stamp), UTC)


def _standing_still(change: Callable[[Any], None]) -> Scenario:
    return small(lambda spec: change(spec["jobs"][1]))


def test_a_webhook_waits_for_its_time_and_carries_the_scenarios_time(tmp_path: Path) -> None:
    scenario = _standing_still(lambda job: job["webhooks"].pop())
    with Receiver() as receiver, providers(scenario, tmp_path, minutes=45) as p:
        p.sim.set_webhook_url(receiver.url)
        p.sim.advance(29)
        assert statuses(p.sim.state()) == [[], []]
        p.sim.advance(1)
        assert _verified(receiver.take()) == p.sim.now()


def test_a_webhook_that_is_not_acknowledged_comes_again_later_with_a_fresh_stamp(tmp_path: Path) -> None:
    def once(job: Any) -> None:
        job["webhooks"] = [{"type": "fine_tuning.job.succeeded"}]

    with Receiver(500, 302, 202) as receiver, providers(_standing_still(once), tmp_path, minutes=45) as p:
        p.sim.set_webhook_url(receiver.url)
        stamps = [_verified(receiver.take())]
        until(lambda: statuses(p.sim.state()) == [[500]])
        p.sim.advance(5)
        stamps.append(_verified(receiver.take()))
        until(lambda: statuses(p.sim.state()) == [[500, 302]])
        assert not p.sim.state()["webhooks"][0]["done"]
        p.sim.advance(20)
        stamps.append(_verified(receiver.take()))
        until(lambda: statuses(p.sim.state()) == [[500, 302, 202]])
        assert p.sim.state()["webhooks"][0]["done"]
    assert [later - stamps[0] for later in stamps] == [timedelta(seconds=s) for s in (0, 5, 25)]


def test_a_webhook_whose_receiver_is_down_counts_as_not_acknowledged(tmp_path: Path) -> None:
    with Receiver() as receiver:
        nobody = receiver.url
    scenario = today({"type": "fine_tuning.job.succeeded"})
    with providers(scenario, tmp_path) as p:
        p.sim.set_webhook_url(nobody)
        until(lambda: statuses(p.sim.state()) == [[0]])
        with Receiver() as receiver:
            p.sim.set_webhook_url(receiver.url)
            p.sim.advance(6)
            receiver.take()


def test_a_lost_webhook_is_never_sent(tmp_path: Path) -> None:
    with Receiver() as receiver, providers(today({"type": "x", "lost": True}), tmp_path) as p:
        p.sim.set_webhook_url(receiver.url)
        p.sim.advance(3600 * 100)
        assert p.sim.state()["webhooks"] == []
        assert p.sim.state()["exhausted"]


def test_after_72_hours_nobody_tries_again(tmp_path: Path) -> None:
    with Receiver(500) as receiver, providers(today({"type": "x"}), tmp_path) as p:
        p.sim.set_webhook_url(receiver.url)
        receiver.take()
        until(lambda: statuses(p.sim.state()) == [[500]])
        p.sim.advance(73 * 3600)
        receiver.take()
        until(lambda: p.sim.state()["exhausted"])
        assert statuses(p.sim.state()) == [[500, 500]]
