"""Whichever process dies, and whenever: what is recorded, judged and served in the end is the same."""

from pathlib import Path

from support.playing import play


def test_random_kills_change_nothing_of_how_it_ends(tmp_path: Path) -> None:
    played = play(tmp_path, scenario=Path(__file__).with_name("short.yaml"), kills=5, seed=3)
    assert played.code == 0, played.output
    assert played.output.count("KILLED kill") == 5
    assert played.output.rstrip().endswith("the same")
