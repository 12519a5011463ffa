"""The fewest disturbances that still break the same promise."""

from simulation.play import Played, play


def shrink(played: Played) -> Played:
    """Leave disturbances out, first many together and then one by one, while the promise stays broken."""
    best = played
    size = max(1, len(played.struck) // 2)
    while True:
        smaller = _without(best, size)
        if smaller is not None:
            best = smaller
        elif size == 1:
            return play(best.seed, frozenset(best.struck), trace=True)
        else:
            size //= 2


def _without(best: Played, size: int) -> Played | None:
    kept = list(dict.fromkeys(best.struck))
    for start in range(0, len(kept), size):
        tried = play(best.seed, frozenset(kept[:start] + kept[start + size :]))
        if tried.violation is not None and _promise(tried) == _promise(best):
            return tried
    return None


def _promise(played: Played) -> str:
    return (played.violation or "").partition(":")[0]
