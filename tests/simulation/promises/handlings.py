"""I1, I16, I19: a handling begins no call after its time, is answered as it ended, and says once how that was."""

from collections.abc import Sequence

from simulation.engine import Task
from simulation.promises.watch import Watch


def called(watch: Watch, task: Task, what: str) -> None:
    """A handler begins a call."""
    late = watch.engine.now - task.suspended - task.began - watch.limits.budget
    watch.expect("I19", late <= 0, f"{what} began {late:.0f} s after the time of its event")
    if task.facts.get("thawed"):
        watch.hit("a handler that had been frozen went on in time")


def answered(watch: Watch, topic: str, status: int, told: Sequence[str]) -> None:
    """`told`: the handling's log lines that say how it ended."""
    crashed = "handler.crashed" in told
    watch.expect("I16", not crashed or status == 500, "a crash was acknowledged")
    wanted = ["event.settled" if status == 204 else "event.retried"]
    once = [label for label in told if label != "handler.crashed"] == wanted
    watch.expect("I1", once, f"{topic} was answered {status} and logged {told}")


def died(watch: Watch, what: str) -> None:
    if what == "set_default":
        watch.hit("dead between the provider's write and the commit")
