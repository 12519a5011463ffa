"""The webhook verifier, with the SDK's own as its oracle, and the JSON reader and keys that stand beside it."""

import base64
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError
from openai.lib import _webhooks

from ratchet.runtime import strict_json
from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError
from ratchet.runtime.webhook_secrets import WebhookSecrets, parse_secret, with_secrets
from ratchet.runtime.webhook_signature import Rejection, Unverified, Verified, verify

VECTOR = json.loads((Path(__file__).parents[1] / "wire" / "openai_webhook_signed_vector.json").read_text())
KEY = parse_secret(VECTOR["secret"], "vector")
HEADERS = VECTOR["request"]["headers"]
BODY = VECTOR["request"]["raw_body"].encode()
THEN = datetime.fromtimestamp(int(HEADERS["webhook-timestamp"]), UTC)


def test_the_fixed_vector_is_verified() -> None:
    assert verify(HEADERS, Unverified(BODY), {"acme": (KEY,)}, THEN) == Verified(BODY, "acme", 0)


def test_a_key_that_stands_for_nothing_verifies_nothing() -> None:
    assert verify(HEADERS, Unverified(BODY), {"acme": (b"x" * 32,)}, THEN) == Rejection("sig_bad")
    assert verify(HEADERS, Unverified(BODY), {}, THEN) == Rejection("sig_bad")


def sdk_accepts(headers: dict[str, str], body: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patch:
        patch.setattr(_webhooks.time, "time", THEN.timestamp)
        try:
            return _webhooks.webhook_signature_matches(body, headers, secret=VECTOR["secret"], tolerance=300)
        except (InvalidWebhookSignatureError, ValueError, TypeError):
            return False


def signed(ident: str, stamp: str, body: bytes) -> str:
    content = f"{ident}.{stamp}.".encode(errors="replace") + body
    return "v1," + base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()


texts = st.text(st.characters(max_codepoint=255), max_size=20)
bodies = st.text(st.characters(exclude_categories=["Cs"]), max_size=50).map(str.encode)
idents = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True) | texts
stamps = st.integers(-310, 310).map(lambda age: str(int(THEN.timestamp()) + age))
spoilt = stamps.flatmap(lambda s: st.sampled_from([s, f"+{s}", f" {s}", f"{s}.0", f"0{s}", s[:2] + "_" + s[2:]]))
noise = st.lists(texts | st.just("v1," + "A" * 43 + "=") | st.just("v2,abc"), max_size=3)


@given(idents, stamps | spoilt, bodies, noise, st.booleans(), st.sampled_from(["{}", "{} ", "{}=", "{}\n", " {}"]))
def test_whatever_we_accept_the_sdk_accepts(
    ident: str, stamp: str, body: bytes, others: list[str], good: bool, form: str
) -> None:
    signatures = [*others, form.format(signed(ident, stamp, body))] if good else others
    headers = {"webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}
    verdict = verify(headers, Unverified(body), {"acme": (KEY,)}, THEN)
    if isinstance(verdict, Verified):
        assert sdk_accepts(headers, body, pytest.MonkeyPatch())


@given(st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True), bodies, st.integers(-300, 300))
def test_whatever_is_well_formed_and_signed_is_accepted_by_both(ident: str, body: bytes, age: int) -> None:
    stamp = str(int(THEN.timestamp()) - age)
    headers = {"webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": signed(ident, stamp, body)}
    assert isinstance(verify(headers, Unverified(body), {"acme": (KEY,)}, THEN), Verified)
    assert sdk_accepts(headers, body, pytest.MonkeyPatch())


LENIENT = [("webhook-signature", signed("wh_1", "1", b"")[3:]), ("webhook-timestamp", "+1767226802")]


@pytest.mark.parametrize(("name", "value"), LENIENT, ids=["no-version", "plus"])
def test_we_are_stricter_than_the_sdk(name: str, value: str) -> None:
    assert isinstance(verify({**HEADERS, name: value}, Unverified(BODY), {"a": (KEY,)}, THEN), Rejection)


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        strict_json.loads(body)
    except strict_json.NotJson:
        return
    json.loads(body)


nested: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(nested)
def test_what_json_wrote_is_read_back(value: Any) -> None:
    assert strict_json.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("end", [b"", b"\\"], ids=["quote", "backslash"])
def test_a_text_without_an_end_takes_no_square_of_its_length(end: bytes) -> None:
    """Tried from each of its quotes, this one took 11 s a door's cap of bytes, and four times as much for twice."""
    body = b'"' + b'\\"' * 500_000 + end
    with pytest.raises(strict_json.NotJson):
        strict_json.loads(body)


def test_brackets_in_texts_are_no_depth() -> None:
    assert strict_json.loads(json.dumps("[" * 100 + '"\\').encode())


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_***", "x" * 40, "whsec_" + base64.b64encode(b"x" * 23).decode()])
def test_a_key_that_could_be_guessed_is_refused_row18(text: str) -> None:
    with pytest.raises(SettingsError, match="HOOK") as caught:
        parse_secret(text, "HOOK")
    assert text[6:] == "" or text[6:] not in str(caught.value)


def test_keys_are_read_again_in_time_and_rarely_on_failure(tmp_path: Path) -> None:
    path, now = tmp_path / "key", [0.0]
    old, new = b"o" * 24, b"n" * 24

    def write(key: bytes) -> None:
        path.write_text("whsec_" + base64.b64encode(key).decode() + "\n")

    write(old)
    keys = WebhookSecrets([OpenAIAccount(account="a", webhook_secrets_files=(path,))], lambda: now[0])
    assert keys() == {"a": (old,)}
    write(new)
    now[0] = 299
    assert keys() == {"a": (old,)}
    assert keys(True) == {"a": (new,)}
    write(old)
    now[0] = 358
    assert keys(True) == {"a": (new,)}
    now[0] = 359
    assert keys(True) == {"a": (old,)}
    write(new)
    now[0] = 659
    assert keys() == {"a": (new,)}


def test_in_a_folder_of_secrets_each_account_has_its_own_and_the_one_before_during_a_rotation(tmp_path: Path) -> None:
    accounts = {"openai": [{"account": "a", "webhook_secrets_env": "NOT_THERE"}, {"account": "b"}]}
    settings = Settings(store="sqlite:///x.db", providers=accounts, webhook_secrets_dir=tmp_path)  # type: ignore[arg-type]
    written = {("a", "current"): b"c" * 24, ("b", "current"): b"d" * 24, ("b", "previous"): b"e" * 24}
    for (account, name), key in written.items():
        (tmp_path / account).mkdir(exist_ok=True)
        (tmp_path / account / name).write_text("whsec_" + base64.b64encode(key).decode())
    assert WebhookSecrets(with_secrets(settings))() == {"a": (b"c" * 24,), "b": (b"d" * 24, b"e" * 24)}
    alone = settings.model_copy(update={"webhook_secrets_dir": None})
    assert with_secrets(alone) == settings.providers.openai
