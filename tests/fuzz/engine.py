"""One target, led by coverage, in a process that ends with it: `python -m fuzz.engine TARGET FOLDER SECONDS`.

Runs in the environment that `fuzz.environment` makes, the only one with atheris.
"""

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

import atheris

LARGEST = 20_000
PATIENCE = 10
"""Instrumented code is slower by so much."""


def main(arguments: Sequence[str]) -> None:
    name, folder, seconds = arguments[0], Path(arguments[1]), int(arguments[2])
    with atheris.instrument_imports(include=["ratchet", "ratchet_cli"]):
        import ratchet

        for module in pkgutil.walk_packages(ratchet.__path__, "ratchet."):
            importlib.import_module(module.name)
        from fuzz import target as limits
        from fuzz.mutate import mutate
        from fuzz.targets import TARGETS, found
    limits.SECONDS *= PATIENCE
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in [*target.seeds, *(path.read_bytes() for path in found(name))]:
        (corpus / sha256(seed).hexdigest()[:40]).write_bytes(seed)

    def change(data: bytes, largest: int, number: int) -> bytes:
        chance = Random(number)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, largest))
        return mutate(data, chance)[:largest]

    options = [
        f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", f"-max_len={LARGEST}", "-timeout=20",
        "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    with target.opened() as check:
        atheris.Setup([sys.argv[0], *options, str(corpus)], check, custom_mutator=change)
        # Never returns: libFuzzer ends the process itself.
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
