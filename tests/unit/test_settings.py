"""Settings: what is taken, and that each refusal says where, what, and how to mend it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ratchet.domain.smoke import Price
from ratchet.runtime import connect
from ratchet.runtime.settings import Settings, SettingsError

WHOLE = """
store: sqlite:///ratchet.db
providers:
  vertex:
    - {project: example-project, account: "123456789012", location: us-central1}
  openai:
    - {account: proj_1, webhook_secrets_files: [/secrets/current, /secrets/previous]}
since: "2026-01-01T00:00:00Z"
contexts:
  cloud: {store: firestore://p/d, command_url: "https://c.example.com"}
limits: {budget: 90}
release: 3
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("K_SERVICE", "OPENAI_BASE_URL", "RATCHET_VERTEX_BASE_URL", "RATCHET_STORE", "RATCHET_CLOCK_URL"):
        monkeypatch.delenv(name, raising=False)


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "ratchet.yaml"
    path.write_text(text)
    return Settings.read(path)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, WHOLE)
    assert settings.sqlite_path == Path("ratchet.db")
    assert settings.database is None
    assert settings.providers.vertex[0].account == "123456789012"
    assert settings.limits.chain().lease == 150
    assert settings.release == 3


def test_a_price_is_in_usd_per_million_tokens_as_of_a_day(tmp_path: Path) -> None:
    text = "prices: {gemini-2.5-flash: {input: 0.5, output: 2, as_of: 2026-11-01}}\n"
    (found,) = read(tmp_path, WHOLE + text).prices.items()
    assert (found[0], found[1].price()) == (
        "gemini-2.5-flash", Price(input=0.5, output=2.0, as_of=date(2026, 11, 1)),
    )  # fmt: skip


def test_a_shutdown_date_is_a_day_with_or_without_quotes(tmp_path: Path) -> None:
    text = 'shutdown_dates: {gemini-2.5-flash: 2026-10-16, "ft:gpt-4.1:acme::x": "2027-01-06"}\n'
    assert read(tmp_path, WHOLE + text).shutdown_dates == {
        "gemini-2.5-flash": datetime(2026, 10, 16, tzinfo=UTC),
        "ft:gpt-4.1:acme::x": datetime(2027, 1, 6, tzinfo=UTC),
    }
    assert read(tmp_path, WHOLE).shutdown_dates == {}


@pytest.fixture
def _afresh() -> Iterator[None]:
    """Connections are kept for the life of a process; a test has one of its own."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    for value in vars(connect).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.mark.usefixtures("_afresh")
def test_every_provider_is_told_of_the_written_shutdown_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, WHOLE + "shutdown_dates: {a: 2026-10-16}\n")
    monkeypatch.setenv("RATCHET_CONFIG", str(tmp_path / "ratchet.yaml"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    accounts = connect.providers().all()
    assert [key.provider for key, _ in accounts] == ["vertex", "openai"]
    assert [port.shutdown_date("a") for _, port in accounts] == [datetime(2026, 10, 16, tzinfo=UTC)] * 2


def test_the_environment_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_STORE", "firestore://example-project/ratchet")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("RATCHET_PUSH_INVOKERS", "a@example.com,b@example.com")
    settings = read(tmp_path, WHOLE)
    assert settings.database == ("example-project", "ratchet")
    assert settings.openai_base_url == "http://127.0.0.1:1/v1"
    assert settings.push_invokers == ("a@example.com", "b@example.com")


LAUGHS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))

REFUSED = {
    "unknown": (WHOLE + "shop: x\n", ":13: shop: no such setting"),
    "nested": (WHOLE.replace("budget: 90", "bugdet: 90"), ":11: limits.bugdet: no such setting"),
    "missing": ("release: 1\n", ":1: store: missing; add it"),
    "store": ("store: mysql://x\n", "sqlite:///path"),
    "zone": (WHOLE.replace("00Z", "00"), ":8: since: a time without a zone"),
    "chain": (WHOLE.replace("budget: 90", "budget: 110"), ":11: limits: limits: slice < budget"),
    "twice": (WHOLE + "release: 4\n", ":13: a setting that stands twice"),
    "yaml": (WHOLE + "a: [\n", "not YAML"),
    "list": ("- a\n", "not a mapping"),
    "clock": (WHOLE + "clock_url: http://clock.example.com\n", "only a simulator on this machine"),
    "clock-port": (WHOLE + "clock_url: http://127.0.0.1:99999\n", "only a simulator on this machine"),
    "clock-bracket": (WHOLE + 'clock_url: "http://["\n', "only a simulator on this machine"),
    "endless": (WHOLE.replace("budget: 90", "lease: .inf"), ":11: limits.lease"),
    "itself": (WHOLE + "a: &a [*a]\n", "values within values without end"),
    "laughs": (WHOLE + LAUGHS, "values within values without end"),
    "name": (WHOLE + "? [a]\n: b\n", "a name that is not a word"),
    "bool": (WHOLE + "a: !!bool maybe\n", "not YAML"),
    "int": (WHOLE + 'a: !!int ""\n', ":13: not YAML; mend this line"),
    "timestamp": (WHOLE + "a: !!timestamp x\n", ":13: not YAML; mend this line"),
    "no-such-day": (WHOLE + "shutdown_dates:\n  a: 2026-02-28\n  b: 2026-02-30\n", ":15: not YAML; mend this line"),
    "no-such-day-quoted": (
        WHOLE + 'shutdown_dates: {a: "2026-02-30"}\n',
        ":13: shutdown_dates.a: not a day; write 2026-",
    ),
    "a-moment": (WHOLE + "shutdown_dates: {a: 2026-02-01T00:00:00Z}\n", ":13: shutdown_dates.a: not a day"),
    "a-number": (WHOLE + "shutdown_dates: {a: 20260201}\n", ":13: shutdown_dates.a: not a day"),
    "nothing": (WHOLE + "shutdown_dates:\n  a: 2026-02-01\n  b:\n", ":15: shutdown_dates.b: not a day"),
    "no-price": (WHOLE + "prices: {a: {input: 1, output: 2}}\n", ":13: prices.a.as_of: missing; add it"),
    "negative": (WHOLE + "prices: {a: {input: -1, output: 2, as_of: 2026-11-01}}\n", ":13: prices.a.input: "),
    "no-model": (WHOLE + 'shutdown_dates:\n  "a b": 2026-02-01\n', ":14: shutdown_dates.a b"),
    "days": (WHOLE + "shutdown_dates: [2026-02-01]\n", ":13: shutdown_dates: "),
    "number": (WHOLE.replace('"123456789012"', '"my-project"'), ":5: providers.vertex.0.account"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_says_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "ratchet.yaml"))


def test_a_refused_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_RELEASE", "new")
    with pytest.raises(SettingsError, match="environment RATCHET_RELEASE: release:"):
        read(tmp_path, WHOLE)


@pytest.mark.parametrize("line", ["clock_url: http://127.0.0.1:9", "push_auth: 'off'"])
def test_what_is_for_one_machine_is_refused_in_the_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    text = WHOLE.replace("sqlite:///ratchet.db", "firestore://p/d") + line + "\n"
    assert read(tmp_path, text)
    monkeypatch.setenv("K_SERVICE", "f")
    with pytest.raises(SettingsError, match="deployed function"):
        read(tmp_path, text)


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RATCHET_CONFIG"):
        Settings.read(tmp_path / "none.yaml")
