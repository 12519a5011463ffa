"""What Terraform would upload, built and served: each zip with its own requirements in a fresh environment."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from infra import policies
from support import terraform
from support.terraform import ROOT, Plan

# Without a token, a signature or the right method: answered by the function's own code, before it asks anything.
ANSWERS = dict.fromkeys(policies.FUNCTIONS - policies.DOORS, ("POST", "/", 401)) | {
    "enforce_promotion": ("POST", "/promotions", 401),
    "receive_webhook": ("GET", "/", 405),
    "receive_command": ("GET", "/", 405),
    "resolve_alias": ("POST", "/", 405),
}
_NEWER = sorted(Path.home().glob(".pyenv/versions/3.13.*/bin/python"))
PYTHON = str(_NEWER[-1]) if _NEWER else shutil.which("python3.13") or sys.executable
"""The deployed version where it is here."""


# One worker plans the whole of it, once.
pytestmark = pytest.mark.xdist_group("zips")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return terraform.copy(tmp_path_factory.mktemp("zips") / "all", whole=True).initialised().plan()


def contents(deployed: Plan, name: str) -> dict[str, bytes]:
    """By its path in the zip, each file as it lies in the repository."""
    found = {}
    for path, digest in deployed.raw["planned_values"]["outputs"]["function_files"]["value"][name].items():
        if path == "ratchet.yaml":
            content = (ROOT / "infra" / "env" / "example.ratchet.yaml").read_bytes()
        elif path in ("main.py", "requirements.txt"):
            content = (ROOT / "functions" / name / path).read_bytes()
        else:
            content = (ROOT / "shared" / path).read_bytes()
        assert sha256(content).hexdigest() == digest, path
        found[path] = content
    return found


def test_a_zip_holds_the_package_and_the_rules_where_they_are_read(deployed: Plan) -> None:
    package = {str(path.relative_to(ROOT / "shared")) for path in (ROOT / "shared" / "ratchet").rglob("*.py")}
    rules = {f"{f}/{path.name}" for f in ("policies", "suites") for path in (ROOT / "shared" / f).iterdir()}
    for name in policies.FUNCTIONS:
        more = rules if name in {*policies.AT_VERTEX, "record_checkpoint"} else set()
        assert contents(deployed, name).keys() == package | more | {"main.py", "requirements.txt", "ratchet.yaml"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(policies.FUNCTIONS))
def test_a_zip_serves_with_its_own_requirements(deployed: Plan, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as packed:
        for path, content in contents(deployed, name).items():
            packed.writestr(path, content)
    with zipfile.ZipFile(tmp_path / "source.zip") as packed:
        packed.extractall(tmp_path / "source")
    uv, python = str(Path(sys.executable).with_name("uv")), tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", PYTHON, str(tmp_path / "venv")], check=True)
    install = [uv, "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--python", str(python)]
    subprocess.run([*install, "--requirement", str(tmp_path / "source" / "requirements.txt")], check=True)
    (values,) = [
        values for address, values in deployed.of("google_cloudfunctions2_function").items() if f'["{name}"]' in address
    ]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # No credentials are here: a store that nobody asks anything needs none of an emulator's.
    outside = {"PATH": os.environ["PATH"], "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9", "FUNCTION_TARGET": "main"}
    environment = {**values["service_config"][0]["environment_variables"], **outside}
    command = [str(python), "-m", "functions_framework", "--target", "main", "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path / "source", env=environment)
    try:
        method, path, status = ANSWERS[name]
        assert answered(server, port, method, path) == status
    finally:
        server.terminate()
        server.wait(30)


def answered(server: "subprocess.Popen[bytes]", port: int, method: str, path: str) -> int:
    """The status of one request, once the server listens."""
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body=b"{}", headers={"content-type": "application/json"})
            return connection.getresponse().status
        except ConnectionRefusedError:
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it has ended with {server.wait(0.1)}") from None
        finally:
            connection.close()
    raise AssertionError("it does not listen")
