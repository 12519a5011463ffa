"""Google's Firestore and Pub/Sub emulators, run from their jars: no login, no project, nothing kept on disk."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_JAVA = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.language=en"]
_FIRESTORE = ("RATCHET_FIRESTORE_JAR", "cloud-firestore-emulator/cloud-firestore-emulator.jar")
_PUBSUB = ("RATCHET_PUBSUB_JAR", "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


@contextmanager
def firestore() -> Iterator[str]:
    """`host:port` of a Firestore emulator of our own."""
    jar = _jar(*_FIRESTORE)
    main_class = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    with _running(["-cp", str(jar), main_class, "--host", "127.0.0.1", "--port"]) as address:
        yield address


@contextmanager
def pubsub() -> Iterator[str]:
    """`host:port` of a Pub/Sub emulator of our own."""
    jar = _jar(*_PUBSUB)
    with _running(["-jar", str(jar), "--host=127.0.0.1", "--port"]) as address:
        yield address


def missing() -> str | None:
    """Why they cannot run here."""
    if not shutil.which("java"):
        return "no emulators: java is not on the PATH"
    for variable, pattern in (_FIRESTORE, _PUBSUB):
        if not _jar(variable, pattern):
            return f"no emulators: set {variable}, or install the Cloud SDK's emulator components"
    return None


def _jar(variable: str, pattern: str) -> Path | None:
    named = os.environ.get(variable)
    if named:
        return Path(named) if Path(named).is_file() else None
    root = _sdk_root()
    return max((root / "platform").glob(pattern), default=None) if root else None


def _sdk_root() -> Path | None:
    """Where the Cloud SDK lies: above the real gcloud, or where gcloud itself says."""
    gcloud = shutil.which("gcloud")
    if not gcloud:
        return None
    beside = Path(gcloud).resolve().parent.parent
    if (beside / "platform").is_dir():
        return beside
    command = [gcloud, "info", "--format=value(installation.sdk_root)"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return Path(said) if said else None


@contextmanager
def _running(arguments: list[str]) -> Iterator[str]:
    """The last argument is the flag that takes the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["java", *_JAVA, *arguments[:-1]]
    command += [f"{arguments[-1]}={port}"] if "-jar" in arguments else [arguments[-1], str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}/")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    """The port opens before the emulator answers; ready means a 200 on `/`."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the emulator ended with code {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=1) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise TimeoutError("the emulator did not answer in time")
