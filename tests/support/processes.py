"""Run Python in a process that a test may kill."""

import os
import subprocess
import sys
from pathlib import Path

import ratchet


def start(*arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(ratchet.__path__[0]).parent)}
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()
