"""Each function's requirements.txt: derived from the lock, current, and complete."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ratchet_cli.requirements import HEADER, ROOT, NotInLock, closure, derived, normal, read_lock, render, stale

LOCK = """\
aiohttp==3.1 ; sys_platform != 'win32' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via some-sdk
Some_SDK==2.0 \\
    --hash=sha256:cc
    # via
    #   ratchet (pyproject.toml)
    #   other[extra]
other==1.0 \\
    --hash=sha256:dd
    # via -r requirements.in
unrelated==4.0 \\
    --hash=sha256:ee
    # via ratchet (pyproject.toml:dev)
"""


def test_the_files_are_current() -> None:
    assert [str(path.relative_to(ROOT)) for path in stale()] == [], "run `make requirements`"


def test_a_closure_follows_the_lock_and_keeps_markers_and_hashes() -> None:
    pins = read_lock(LOCK)
    assert [pin.name for pin in closure(pins, ["some.sdk[grpc]>=1"])] == ["aiohttp", "some-sdk"]
    assert [pin.name for pin in closure(pins, ["other"])] == ["aiohttp", "some-sdk", "other"]
    assert render(closure(pins, ["Some-SDK"])) == (
        f"{HEADER}\naiohttp==3.1 ; sys_platform != 'win32' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "Some_SDK==2.0 \\\n    --hash=sha256:cc\n"
    )


def test_a_root_that_the_lock_lacks_is_an_error() -> None:
    with pytest.raises(NotInLock):
        closure(read_lock(LOCK), ["flask"])


def names(path: Path) -> set[str]:
    return {normal(found) for found in re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", path.read_text(), re.MULTILINE)}


def needs(root: str, into: set[tuple[str, str]]) -> None:
    """What pip would install for a requirement here, from the metadata of what is installed."""
    requirement = Requirement(root)
    for extra in ("", *requirement.extras):
        if (normal(requirement.name), extra) in into:
            continue
        into.add((normal(requirement.name), extra))
        for line in metadata.distribution(requirement.name).requires or []:
            child = Requirement(line)
            if child.marker is None or child.marker.evaluate({"extra": extra}):
                needs(line, into)


@pytest.mark.parametrize("path", sorted(derived()), ids=lambda path: path.parent.name)
def test_a_function_has_all_that_its_roots_need_with_hashes_and_no_index(path: Path) -> None:
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    needed: set[tuple[str, str]] = set()
    for root in groups[path.parent.name]:
        needs(root, needed)
    assert {name for name, _ in needed} <= names(path)
    text = path.read_text()
    assert text.startswith(HEADER + "\n")
    assert "://" not in text
    assert "--index" not in text
    blocks = re.split(r"\n(?=\S)", text.removeprefix(HEADER).strip())
    assert all("--hash=sha256:" in block for block in blocks)


def test_a_function_carries_no_sdk_that_it_does_not_import() -> None:
    for function in ("receive_webhook", "receive_command"):
        assert names(ROOT / "functions" / function / "requirements.txt").isdisjoint(
            {"google-cloud-firestore", "openai", "google-genai", "typer", "rich", "pytest"}
        )
    for path in derived():
        assert names(path).isdisjoint({"typer", "pytest", "mypy"})


def test_a_changed_or_missing_file_is_stale(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[dependency-groups]\ndev = ["x"]\nresolve_alias = ["other>=1"]\n')
    (tmp_path / "requirements.lock").write_text(LOCK)
    path = tmp_path / "functions" / "resolve_alias" / "requirements.txt"
    assert stale(tmp_path) == [path]
    path.parent.mkdir(parents=True)
    path.write_text(derived(tmp_path)[path])
    assert stale(tmp_path) == []
    path.write_text(path.read_text().replace("dd", "de"))
    assert stale(tmp_path) == [path]
