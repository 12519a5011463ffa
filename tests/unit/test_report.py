"""`make report`: what was measured anew replaces what stood there, and nothing else changes."""

from typing import Any

from report import fold, render, together


def content(section: str, at: str, figures: dict[str, str], **lists: list[str]) -> dict[str, Any]:
    told = {
        "section": section,
        "command": "make it",
        "at": at,
        "commit": "abc1234",
        "python": "3.11",
        "cores": 2,
        "load": "3",
    }
    return {**told, "figures": figures, "lists": lists}


def test_a_section_that_many_processes_measured_has_the_figures_of_all() -> None:
    parts = [
        content("A", "10:02", {"x": "1"}, each=["x"]),
        content("A", "10:01", {"y": "2"}),
        content("B", "10:00", {}),
    ]
    found = together(parts)
    assert list(found) == ["B", "A"]
    assert (found["A"]["figures"], found["A"]["at"]) == ({"y": "2", "x": "1"}, "10:02")
    assert found["A"]["lists"] == {"each": ["x"]}


def test_a_section_says_what_measured_it_and_where() -> None:
    told = render(content("A", "10:02", {"x": "1"}, each=["one", "two"]))
    assert "`make it`, 10:02, commit abc1234, Python 3.11, 2 cores, load 3" in told
    assert "| x | 1 |" in told
    assert told.endswith("each:\n\n- one\n- two\n")


def test_what_was_not_measured_anew_stays() -> None:
    old = fold("", {"B": render(content("B", "9:00", {"b": "1"})), "A": render(content("A", "9:00", {"a": "1"}))})
    new = fold(old, {"A": render(content("A", "10:00", {"a": "2"}))})
    assert fold(old, {}) == old
    assert ("| b | 1 |" in new, "| a | 2 |" in new, "| a | 1 |" in new) == (True, True, False)
    assert new.index("## A") < new.index("## B")
