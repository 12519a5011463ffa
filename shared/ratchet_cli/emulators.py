"""Google's Firestore and Pub/Sub emulators as child processes, from their jars: no login, and nothing kept on disk."""

import http.client
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ratchet_cli.processes import Command

_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.language=en")
_FIRESTORE = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_START_SECONDS = 60.0


class NoEmulators(RuntimeError):
    """They are not on this machine; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Jars:
    firestore: Path
    pubsub: Path


@dataclass(frozen=True, slots=True)
class Emulators:
    """Where they listen, and the project that this run has in them."""

    project: str
    firestore_port: int
    pubsub_port: int

    @property
    def store(self) -> str:
        return f"firestore://{self.project}/(default)"

    @property
    def pubsub_host(self) -> str:
        return f"127.0.0.1:{self.pubsub_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{self.firestore_port}",
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "GOOGLE_CLOUD_PROJECT": self.project,
        }

    def commands(self, jars: Jars) -> tuple[Command, Command]:
        firestore = ["-cp", str(jars.firestore), _FIRESTORE, "--host", "127.0.0.1", "--port", str(self.firestore_port)]
        pubsub = ["-jar", str(jars.pubsub), "--host=127.0.0.1", f"--port={self.pubsub_port}"]
        return (
            Command("firestore", ["java", *_JAVA, *firestore], port=self.firestore_port),
            Command("pubsub", ["java", *_JAVA, *pubsub], port=self.pubsub_port),
        )

    def wait(self) -> None:
        """Raises: NoEmulators: they do not come up."""
        deadline = time.monotonic() + _START_SECONDS
        for port in (self.firestore_port, self.pubsub_port):
            while not _answers(port):
                if time.monotonic() > deadline:
                    raise NoEmulators("the emulators do not come up; see the log of this run")
                time.sleep(0.05)


def find() -> Jars:
    """Raises: NoEmulators."""
    if not shutil.which("java"):
        raise NoEmulators("no emulators: java is not on the PATH")
    return Jars(
        _jar("RATCHET_FIRESTORE_JAR", "cloud-firestore-emulator/cloud-firestore-emulator.jar"),
        _jar("RATCHET_PUBSUB_JAR", "pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"),
    )


def _jar(variable: str, pattern: str) -> Path:
    named = os.environ.get(variable)
    if named:
        if not Path(named).is_file():
            raise NoEmulators(f"{variable} names no file")
        return Path(named)
    root = _sdk_root()
    found = sorted((root / "platform").glob(pattern)) if root else []
    if not found:
        raise NoEmulators(f"no emulator: set {variable}, or install the Cloud SDK with its emulator components")
    return found[-1]


def _sdk_root() -> Path | None:
    """Where the Cloud SDK lies: above the real gcloud, or where gcloud itself says."""
    gcloud = shutil.which("gcloud")
    if not gcloud:
        return None
    beside = Path(gcloud).resolve().parent.parent
    if (beside / "platform").is_dir():
        return beside
    command = [gcloud, "info", "--format=value(installation.sdk_root)"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    said = asked.stdout.strip()
    return Path(said) if said else None


def _answers(port: int) -> bool:
    """The port opens before the emulator answers; ready means a 200 on `/`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
