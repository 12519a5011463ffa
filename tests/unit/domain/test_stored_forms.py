"""The words, fields and defaults that are stored, sent and written in files are a promise to the releases to come.

`stored_forms.json` says what they are. Whoever changes one on purpose changes it there, having thought of the documents
that exist: an absent field is read as its default, and an unknown word not at all. Run by itself, this writes it anew.
"""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import ratchet.domain
from ratchet.domain.codec import encode

FORMS = Path(__file__).with_name("stored_forms.json")


def classes() -> Iterator[type]:
    """All enums and records of the domain."""
    for module in pkgutil.iter_modules(ratchet.domain.__path__, "ratchet.domain."):
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                yield value


ENUMS = [kind for kind in classes() if issubclass(kind, Enum)]
RECORDS = [kind for kind in classes() if dataclasses.is_dataclass(kind)]


def name_of(kind: type) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def default_of(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return encode(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return encode(field.default_factory())
    return "(must be given)"


def forms() -> dict[str, Any]:
    """As they are now, in the form of the file."""
    return {name_of(kind): [member.value for member in kind] for kind in ENUMS} | {
        name_of(kind): {
            **({"COLLECTION": kind.COLLECTION} if hasattr(kind, "COLLECTION") else {}),
            **{field.name: default_of(field) for field in dataclasses.fields(kind)},
        }
        for kind in RECORDS
        if not kind.__name__.startswith("_")
    }


def test_words_fields_and_defaults_are_what_was_promised() -> None:
    promised = json.loads(FORMS.read_text(encoding="utf-8"))
    found = forms()
    assert found.keys() == promised.keys()
    for name, form in promised.items():
        assert found[name] == form, name


@pytest.mark.parametrize("kind", RECORDS, ids=name_of)
def test_values_do_not_change(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(kind)


if __name__ == "__main__":
    FORMS.write_text(json.dumps(forms(), indent=1) + "\n", encoding="utf-8")
