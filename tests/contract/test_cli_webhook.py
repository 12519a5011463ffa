"""`ratchet webhook` through the real SDKs, against the simulated provider and a Secret Manager of our own.

Whatever happens, no secret is in anything that is printed: `Desk.seen` looks at every run's output.
"""

import base64
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.runtime.settings import OpenAIAccount
from ratchet.runtime.webhook_secrets import read_secrets
from ratchet.runtime.webhook_signature import Unverified, Verified, verify
from ratchet_cli.main import app
from ratchet_sim.webhooks import sign
from ratchet_sim.world import WebhookEndpoint
from support.secret_manager import SECRET, TOKEN, SecretManager, secret_manager
from support.sim_clients import KEY, Providers, providers, small, until

URL = "https://hooks.acme.example/webhooks/openai"
BODY = "a-body-that-nobody-may-see"
DAY = 24 * 3600
OLD = "whsec_" + base64.b64encode(b"the secret that was there before").decode()
PROGRAM = "from ratchet_cli.main import app; app()"
# Ends the process, as a SIGKILL would, when it is about to change the N-th thing on the disk.
CRASHING = """
import os, sys
left, home = int(sys.argv.pop(1)), os.getcwd()
def hook(event, arguments):
    global left
    if event in ("os.rename", "os.remove") or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        if str(arguments[0]).startswith(home):
            left -= 1
            if left == 0:
                os._exit(137)
sys.addaudithook(hook)
"""


Ran = tuple[int, str, str]
"""Exit status, output, errors."""


class Desk:
    """A person's folder and shell."""

    def __init__(self, folder: Path, provided: Providers, more: dict[str, str]) -> None:
        self.folder = folder
        self.provided = provided
        self.config = folder / "ratchet.yaml"
        self.secret = folder / "secret"
        self.previous = folder / "secret.previous"
        self.note = folder / ".ratchet-webhook-proj_a1.pending"
        self.config.write_text(
            f"store: sqlite:///{folder / 'ratchet.db'}\n"
            "providers:\n  openai:\n    - {account: proj_a1, api_key_env: SIM_KEY}\n"
        )
        # The answers of 127.0.0.1 are nobody's business.
        self.environment: dict[str, str | None] = {name: None for name in os.environ if name.lower().endswith("_proxy")}
        self.environment |= {
            "SIM_KEY": KEY,
            "OPENAI_BASE_URL": provided.sim.openai_url,
            "RATCHET_CLOCK_URL": provided.sim.url,
            # What an SDK would show of bodies, were it allowed to.
            "OPENAI_LOG": "debug",
            "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google",
            **more,
        }

    def command(self, verb: str, *more: str, to: str | None = None, url: str = URL) -> list[str]:
        place = to or f"file:{self.secret}"
        words = ["webhook", verb, "--account", "proj_a1", "--url", url, "--secret", place, *more]
        return [*words, "--config", str(self.config)]

    def start(self, *arguments: str, program: str = PROGRAM) -> "subprocess.Popen[str]":
        environment = {k: v for k, v in {**os.environ, **self.environment}.items() if v is not None}
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self, process: "subprocess.Popen[str]") -> Ran:
        out, err = process.communicate(timeout=60)
        return self.seen(process.returncode, out, err)

    def process(self, verb: str, *more: str, to: str | None = None) -> Ran:
        """As a person's shell runs it."""
        return self.ended(self.start(*self.command(verb, *more, to=to)))

    def run(self, verb: str, *more: str, to: str | None = None, url: str = URL) -> Ran:
        """The same in this process, which is quicker."""
        result = CliRunner().invoke(app, self.command(verb, *more, to=to, url=url), env=self.environment)
        trace = "".join(traceback.format_exception(result.exception)) if result.exception else ""
        assert result.exception is None or isinstance(result.exception, SystemExit), trace
        return self.seen(result.exit_code, result.stdout, result.stderr, trace)

    def seen(self, code: int, out: str, err: str, trace: str = "") -> Ran:
        for secret in [OLD, KEY, TOKEN, BODY, *(each for e in self.endpoints() for each in e.secrets)]:
            for form in (secret, secret.removeprefix("whsec_"), base64.b64encode(secret.encode()).decode()):
                assert form not in out + err + trace
        assert "Traceback" not in err, err
        return code, out, err

    def endpoints(self) -> tuple[WebhookEndpoint, ...]:
        return self.provided.sim.simulator.store.endpoints()

    def asked(self, method: str = "POST") -> list[str]:
        return [each["path"] for each in self.provided.sim.requests() if each["method"] == method]

    def clean(self) -> bool:
        """Nothing is left that a run needs while it is at work."""
        return not [path for path in self.folder.iterdir() if path.suffix in (".pending", ".new")]


@contextmanager
def desk(tmp_path: Path, *faults: Any, **more: str) -> Iterator[Desk]:
    (tmp_path / "home").mkdir()
    with providers(small(factor=1, faults=faults), tmp_path / "state") as provided:
        yield Desk(tmp_path / "home", provided, more)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[SecretManager]:
    with secret_manager(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """The command silences its process, which here is the tests'."""
    yield
    logging.disable(logging.NOTSET)


def fault(do: dict[str, Any], method: str = "POST", **more: Any) -> dict[str, Any]:
    return {"id": f"{method}-fault", "when": {"method": method, "path": "webhook_endpoints"}, "do": do, **more}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def delivered(files: list[Path], *secrets: str) -> str:
    """What receive_webhook makes of a delivery that these secrets sign, by the files that it has."""
    now = datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    signatures = " ".join(sign(secret, "wh_1", stamp, b"{}") for secret in secrets)
    headers = {"webhook-id": "wh_1", "webhook-timestamp": stamp, "webhook-signature": signatures}
    keys = read_secrets([OpenAIAccount(account="proj_a1", webhook_secrets_files=tuple(files))])
    verdict = verify(headers, Unverified(b"{}"), keys, now)
    return ("ok_old" if verdict.secret_index else "ok") if isinstance(verdict, Verified) else verdict.code


def test_an_endpoint_is_registered_once_and_its_secret_is_in_a_file_for_nobody_else(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        code, out, err = at.process("register")
        assert (code, err) == (0, "")
        (made,) = at.endpoints()
        assert out.startswith(f"registered {made.id}, {URL}; for fine_tuning.job.succeeded, fine_tuning.job.failed, ")
        assert f'webhook_secrets_files: ["{at.secret}"]' in out
        assert f"\n     ratchet doctor --config {at.config}\n" in out
        assert (at.secret.read_text(), mode(at.secret)) == (made.secrets[0] + "\n", 0o600)
        assert made.event_types == (
            "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled",
        )  # fmt: skip
        assert delivered([at.secret], made.secrets[0]) == "ok"
        assert at.clean()

        code, out, _ = at.run("register", url=URL.replace("hooks.acme", "HOOKS.acme"))
        assert (code, len(at.endpoints())) == (0, 1)
        assert out.startswith(f"already there: {made.id} ")
        assert not at.previous.exists()


def test_a_rotation_keeps_the_old_secret_here_and_there_and_says_what_to_do_next(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.run("register")
        at.provided.sim.advance(DAY)
        code, out, err = at.process("rotate", "--json")
        assert (code, err) == (0, "")
        (made,) = at.endpoints()
        new, old = made.secrets
        assert made.old_until == pytest.approx(made.updated + DAY), "it was asked to keep the old one"
        assert (at.secret.read_text(), at.previous.read_text()) == (new + "\n", old + "\n")
        assert (mode(at.secret), mode(at.previous)) == (0o600, 0o600)
        both = [at.secret, at.previous]
        assert [delivered(both, new, old), delivered(both, new), delivered(both, old)] == ["ok", "ok", "ok_old"]
        assert delivered([at.previous], new, old) == "ok", "who has not deployed yet still accepts"
        told = json.loads(out)
        assert (told["state"], told["good"], told["endpoint"]) == ("rotated", True, made.id)
        assert told["stored"] == f"file:{at.secret}"
        assert [step["command"] for step in told["next"]] == [
            f"ratchet doctor --config {at.config}",
            f"grep ok_old {at.folder / '.ratchet' / 'log.jsonl'} | tail -3",
            f"rm {at.previous}",
        ]
        assert at.clean()


def test_a_second_rotation_within_a_day_is_refused_until_it_is_insisted_on(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.run("register")
        code, out, err = at.run("rotate")
        assert (code, out, len(at.endpoints()[0].secrets)) == (1, "", 1)
        assert "less than 24 h ago" in err
        assert "--again" in err
        assert at.run("rotate", "--again")[0] == 0
        assert len(at.endpoints()[0].secrets) == 2


def test_a_dry_run_says_what_would_be_done_and_writes_and_asks_for_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        code, out, _ = at.run("register", "--dry-run")
        assert (code, out.startswith(f"would register {URL} for fine_tuning")) == (0, True)
        at.run("register")
        at.provided.sim.advance(DAY)
        before = sorted(at.folder.iterdir()), at.asked()
        code, out, _ = at.run("rotate", "--dry-run", "--json")
        assert (code, json.loads(out)["state"]) == (0, "dry-run")
        assert (sorted(at.folder.iterdir()), at.asked()) == before


def test_an_endpoint_that_is_there_is_told_with_what_it_lacks(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        client = at.provided.openai.webhooks
        made = client.create(name="x", url=URL, event_types=["batch.failed", "fine_tuning.job.failed"])
        # Not on the first page.
        for number in range(101):
            client.create(name="x", url=f"{URL}/{number}", event_types=["batch.failed"])
        code, out, _ = at.run("register", "--json")
        told = json.loads(out)
        assert (code, told["state"], told["endpoint"], told["good"]) == (1, "there", made.id, False)
        assert "it does not send fine_tuning.job.succeeded, fine_tuning.job.cancelled" in told["text"]
        assert f"its secret is not in file:{at.secret}, and is told only once" in told["text"]
        assert [" rotate " in step["command"] for step in told["next"]] == [True]
        client.create(name="y", url=URL, event_types=["batch.failed"])
        code, _, err = at.run("rotate")
        assert (code, "several endpoints have it" in err) == (1, True)
        code, _, err = at.run("rotate", url=URL + "/none")
        assert (code, "no endpoint has it; make one: ratchet webhook register" in err) == (1, True)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("status", "mend"),
    [
        (400, "not accepted"), (401, "the key in SIM_KEY is not accepted"), (403, "not an admin key"),
        (404, "no such thing"), (429, "try again in a minute"), (500, "run the same command again"),
        (503, "run the same command again"), (302, "run the same command again"),
    ],
)  # fmt: skip
def test_a_status_of_the_provider_is_told_with_its_mend_and_without_its_body(
    tmp_path: Path, method: str, status: int, mend: str
) -> None:
    do = {"kind": "status", "code": status, "body": {"error": {"message": BODY, "code": BODY}}}
    if status == 302:
        do["headers"] = {"Location": "http://127.0.0.1:9/"}
    with desk(tmp_path, fault(do, method)) as at:
        code, out, err = at.run("register")
        assert (code, out) == (1, "")
        assert f"({status})" in err
        assert mend in " ".join(err.split())
        assert not at.secret.exists()
        maybe = method == "POST" and (status >= 500 or status < 400)
        assert at.note.exists() is maybe, "a note stays where it may have been done"


NONSENSE: list[dict[str, Any]] = [
    {"kind": "truncatedJson"}, {"kind": "htmlWith200"}, {"kind": "empty200"}, {"kind": "resetMidBody"},
    {"kind": "reset"}, {"kind": "status", "code": 200, "body": {}}, {"kind": "status", "code": 200, "body": [BODY]},
    {"kind": "status", "code": 200, "body": {"data": []}},
    {"kind": "status", "code": 200, "body": {"object": "list", "data": [{"id": "../" + BODY}]}},
    {"kind": "status", "code": 200, "body": {"id": "wh_1", "url": URL, "event_types": [], "signing_secret": BODY}},
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("do", NONSENSE, ids=lambda do: do["kind"])
def test_an_answer_that_makes_no_sense_is_neither_believed_nor_shown(
    tmp_path: Path, method: str, do: dict[str, Any]
) -> None:
    with desk(tmp_path, fault(do, method)) as at:
        code, out, err = at.run("register")
        assert (code, out) == (1, "")
        assert "as far as is known: " in err
        assert not at.secret.exists()
        assert at.asked() == [] or method == "POST", "what is no list is not an empty one"


def test_a_list_that_goes_in_circles_ends(tmp_path: Path) -> None:
    with desk(tmp_path, fault({"kind": "loopingPageToken"}, "GET")) as at:
        assert at.run("register")[0] == 0
        assert at.run("register")[1].startswith("already there")


def test_what_the_provider_denied_but_did_is_found_by_the_next_run(tmp_path: Path) -> None:
    with desk(tmp_path, fault({"kind": "applyThenStatus", "code": 500}, count=1)) as at:
        assert at.run("register")[0] == 1
        code, out, _ = at.run("register")
        assert (code, len(at.endpoints())) == (1, 1)
        assert "its secret was lost with an earlier run, and is told only once" in out
        assert "rotate --account proj_a1" in out
        assert at.run("rotate", "--again")[0] == 0
        assert at.secret.read_text().strip() == at.endpoints()[0].secrets[0]
        assert at.clean()


def test_a_rotation_that_failed_for_sure_is_simply_made_by_the_next_run(tmp_path: Path) -> None:
    with desk(tmp_path, fault({"kind": "status", "code": 503}, nth=[2])) as at:
        at.run("register")
        at.provided.sim.advance(DAY)
        assert at.run("rotate")[0] == 1
        assert at.note.exists()
        assert at.run("rotate")[0] == 0, "the endpoint tells that nothing had been rotated"
        assert (len(at.endpoints()[0].secrets), at.clean()) == (2, True)


def test_a_run_killed_while_the_provider_answers_has_lost_the_secret_and_the_next_one_says_so(tmp_path: Path) -> None:
    with desk(tmp_path, fault({"kind": "applyThenHang"}, nth=[2])) as at:
        at.run("register")
        at.provided.sim.advance(DAY)
        process = at.start(*at.command("rotate"))
        until(lambda: len(at.endpoints()[0].secrets) == 2)
        code, _, err = at.run("register")
        assert (code, "another `ratchet webhook` is at work" in err) == (1, True)
        process.send_signal(signal.SIGKILL)
        assert at.ended(process)[0] == -signal.SIGKILL
        assert at.secret.read_text().strip() == at.endpoints()[0].secrets[1], "the old one, which still holds"
        code, _, err = at.run("rotate")
        assert (code, len(at.endpoints()[0].secrets)) == (1, 2)
        assert "an earlier run ended after the provider had made a secret, and that is lost" in err
        assert at.run("rotate", "--again")[0] == 0
        assert at.secret.read_text().strip() == at.endpoints()[0].secrets[0]
        assert at.clean()


def test_a_run_that_dies_before_any_write_to_the_disk_is_mended_by_the_same_command(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.run("register")
        for point in range(1, 40):
            at.provided.sim.advance(DAY)
            old = at.secret.read_text()
            rotated = len(at.endpoints()[0].secrets)
            arguments = [str(point), *at.command("rotate")]
            code, _, _ = at.ended(at.start(*arguments, program=CRASHING + PROGRAM))
            if code == 0:
                break
            assert code == 137
            assert mode(at.secret) == 0o600
            assert old in (at.secret.read_text(), at.previous.read_text() if at.previous.exists() else "")
            for file in at.folder.iterdir():
                assert file == at.config or file.is_dir() or mode(file) == 0o600, file
            code, _, err = at.run("rotate")
            if code == 1 and "--again" in err:
                at.run("rotate", "--again")
            (made,) = at.endpoints()
            assert at.secret.read_text().strip() == made.secrets[0]
            assert at.previous.read_text() == old, f"at point {point}"
            assert len(made.secrets) - rotated in (1, 2)
            assert at.clean()
        else:
            pytest.fail("it never got to the end")
        assert point > 8, "as many places as there are, and no fewer"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--url", "http://hooks.acme.example/"], "--url: write the https address"),
        (["--url", f"https://ana:{BODY}@hooks.acme.example/"], "--url: write the https address"),
        (["--url", "https://[1/"], "--url: write the https address"),
        (["--secret", "vault:x"], "--secret: write file:PATH"),
        (["--secret", "secretmanager:projects/P/secrets/../x"], "--secret: write file:PATH"),
        (["--secret", "file:/dev/stdout"], "not an ordinary file"),
        (["--secret", "file:missing/secret"], "no folder that can be written"),
        (["--account", "proj_b2"], "no account 'proj_b2' under `providers.openai` (there: proj_a1)"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_nothing_is_asked_for(tmp_path: Path, more: list[str], said: str) -> None:
    with desk(tmp_path) as at:
        code, out, err = at.run("register", *more)
        assert (code, out) == (2, "")
        assert said in err
        assert at.asked() == []


def test_without_a_key_or_with_a_wrong_one_it_says_which_variable(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        at.environment["SIM_KEY"] = ""
        assert at.run("register") == (1, "", "no key: the variable SIM_KEY is empty; export SIM_KEY=...\n")
        at.environment["SIM_KEY"] = "sk-" + BODY
        code, _, err = at.run("register")
        assert (code, "(401): the key in SIM_KEY is not accepted" in err) == (1, True)


def test_secret_manager_gets_a_version_for_each_secret(tmp_path: Path, manager: SecretManager) -> None:
    with desk(tmp_path, **manager.environment) as at:
        place = f"secretmanager:{SECRET}"
        assert at.run("register", "--dry-run", to=place)[0] == 0
        assert manager.versions == []
        code, out, err = at.process("register", to=place)
        assert (code, err) == (0, "")
        assert f"its secret is in {place}, version 1" in out
        at.provided.sim.advance(DAY)
        code, out, err = at.run("rotate", to=place)
        assert (code, err) == (0, "")
        assert f"its secret is in {place}, version 2" in out
        assert manager.versions == list(reversed(at.endpoints()[0].secrets))
        for command in ("make infra-plan infra-apply", "gcloud logging read", "gcloud secrets versions disable"):
            assert f"\n     {command}" in out
        assert "ok_old" in out
        assert at.clean()


def test_nothing_is_asked_of_the_provider_where_the_secret_could_not_be_put_away(
    tmp_path: Path, manager: SecretManager
) -> None:
    manager.permissions = []
    with desk(tmp_path, **manager.environment) as at:
        code, _, err = at.run("register", to=f"secretmanager:{SECRET}")
        assert (code, at.asked()) == (1, [])
        assert "--role=roles/secretmanager.secretVersionAdder" in err
        code, _, err = at.run("register", to=f"secretmanager:{SECRET}x")
        assert (code, "no such secret (404)" in err, at.asked()) == (1, True, [])
        at.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "none.json")
        code, _, err = at.run("register", to=f"secretmanager:{SECRET}")
        assert (code, "run `gcloud auth application-default login`" in err, at.asked()) == (1, True, [])
        at.environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"] = "http://elsewhere.example/"
        code, _, err = at.run("register", to=f"secretmanager:{SECRET}")
        assert (code, "a secret goes over https" in err) == (2, True)


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 429, 500])
def test_a_secret_that_cannot_be_put_away_waits_for_the_next_run(
    tmp_path: Path, manager: SecretManager, status: int
) -> None:
    place = f"secretmanager:{SECRET}"
    manager.answers[":addVersion"] = status, b'{"error": "' + BODY.encode() + b'"}'
    with desk(tmp_path, **manager.environment) as at:
        code, out, err = at.run("register", to=place)
        assert (code, out) == (1, "")
        assert f"Nothing is lost: the new secret is in {at.note} (mode 0600)" in err
        assert mode(at.note) == 0o600
        del manager.answers[":addVersion"]
        before = at.asked()
        assert at.run("register", "--dry-run", to=place)[0] == 0
        code, out, _ = at.run("register", "--json", to=place)
        assert (code, json.loads(out)["state"], at.asked()) == (0, "finished", before)
        assert manager.versions == [at.endpoints()[0].secrets[0]]
        assert at.clean()


def test_a_run_killed_while_it_stores_is_ended_by_the_next_with_one_version(
    tmp_path: Path, manager: SecretManager
) -> None:
    place = f"secretmanager:{SECRET}"
    with desk(tmp_path, **manager.environment) as at:
        manager.before = threading.Event()
        process = at.start(*at.command("register", to=place))
        assert manager.before.wait(60)
        process.send_signal(signal.SIGKILL)
        at.ended(process)
        manager.before = None
        # The version had been added, and the answer was lost with the process.
        (made,) = at.endpoints()
        manager.versions.append(made.secrets[0])
        code, out, _ = at.run("register", to=place)
        assert (code, "version 1" in out, manager.versions) == (0, True, [made.secrets[0]])


def test_who_may_add_and_not_read_is_told_of_a_version_that_may_be_there_twice(
    tmp_path: Path, manager: SecretManager
) -> None:
    place = f"secretmanager:{SECRET}"
    manager.answers[":addVersion"] = 500, b""
    with desk(tmp_path, **manager.environment) as at:
        at.run("register", to=place)
        manager.answers = {"/versions/latest:access": (403, BODY.encode())}
        code, out, _ = at.run("register", to=place)
        assert (code, "the version before is the same: disable that" in out) == (0, True)


def test_a_note_for_another_url_or_one_that_is_garbled_stops_the_run(tmp_path: Path) -> None:
    with desk(tmp_path) as at:
        note = {"verb": "register", "url": URL, "endpoint": "wh_1", "updated_at": 1, "secret": OLD}
        at.note.write_text(json.dumps(note))
        code, _, err = at.run("register", url=URL + "/other")
        assert (code, f"first: ratchet webhook register --account proj_a1 --url {URL} " in err) == (1, True)
        at.note.write_text(OLD)
        code, _, err = at.run("register")
        assert (code, "what an earlier run left cannot be read" in err) == (1, True)
