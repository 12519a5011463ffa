"""Do the tests notice a mutant? Each is tried in a fork of a process that has collected them, so that it costs little.

A mutant of a function's body is put into the function that everybody has imported. One of what a module makes when it
is imported, and whatever the first way did not kill, is tried again where everything of ours is imported anew.
"""

import contextlib
import gc
import importlib
import importlib.util
import os
import pickle
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import hypothesis.strategies  # noqa: F401 - imported here, it is there in every fork
import pytest

from mutation.operators import Mutant

WORKERS = 2
_OURS = ("ratchet", "support")
_ENDLESS_SECONDS = 20.0
"""Of the processor's time: a mutant that makes its tests go on for so long is noticed, as people would notice it."""
SURVIVED = "survived"
ENDLESS = "it did not end"


@dataclass(frozen=True, slots=True)
class Survey:
    """What each test costs in seconds, and which tests run each line of a file; of a name in `fallback`, of any."""

    seconds: Mapping[str, float]
    by_line: Mapping[str, Mapping[int, frozenset[str]]]

    def covering(self, file: str, lines: Sequence[int]) -> list[str]:
        """The tests that run these lines, the quick ones first."""
        found = {test for line in lines for test in self.by_line.get(file, {}).get(line, ())}
        return sorted(found, key=lambda test: (self.seconds[test], test))

    def of_module(self, file: str) -> list[str]:
        """All tests, those that run most of the module first."""
        counts: dict[str, int] = defaultdict(int)
        for tests in self.by_line.get(file, {}).values():
            for test in tests:
                counts[test] += 1
        stem = f"test_{Path(file).stem}."
        return sorted(self.seconds, key=lambda test: (stem not in test, self.seconds[test] > 0.2, -counts[test], test))


# In a process of their own --------------------------------------------------------------------------------------------


def apart(work: Callable[[], Any]) -> Any:
    """The result of work that is done in a fork, so that nothing of it stays."""
    return next(iter(in_forks([work], 1)))[1]


def in_forks(works: Sequence[Callable[[], Any]], workers: int) -> Iterator[tuple[int, Any]]:
    """Each piece of work in a fork of its own, so many at a time; in the order in which they end."""
    open_: dict[int, tuple[int, int]] = {}
    # A fork that collects garbage copies all of the memory.
    gc.collect()
    gc.freeze()
    for index, work in enumerate(works):
        if len(open_) == workers:
            yield _ended(open_)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work_and_leave(work, writer)
        os.close(writer)
        open_[reader] = (index, child)
    while open_:
        yield _ended(open_)


def _work_and_leave(work: Callable[[], Any], writer: int) -> None:
    """Nothing of the parent's is to be ended twice, whatever happens here."""
    with os.fdopen(writer, "wb") as pipe:
        try:
            told = (work(), "")
        except Exception as exc:  # noqa: BLE001 - the parent raises it
            told = (None, f"{type(exc).__name__}: {exc}")
        pickle.dump(told, pipe)
    os._exit(0)


def _ended(open_: dict[int, tuple[int, int]]) -> tuple[int, Any]:
    """Read before waiting: a pipe holds little, and whoever cannot write does not end."""
    (reader, *_), _, _ = select.select(open_, [], [])
    index, child = open_.pop(reader)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:  # the alarm has ended it
        return index, ENDLESS
    result, error = pickle.loads(told)
    if error:
        raise RuntimeError(error)
    return index, result


# The tests ------------------------------------------------------------------------------------------------------------


class _Session:
    """A pytest plugin that hands over the collected tests instead of running them."""

    def __init__(self, run: Callable[[list[pytest.Item]], Any]) -> None:
        self._run = run
        self.result: Any = RuntimeError("the tests cannot be collected")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        try:
            self.result = self._run(list(session.items))
        except Exception as exc:  # noqa: BLE001 - pytest would only print it
            self.result = exc
        return True


def _with_tests(paths: Sequence[str], run: Callable[[list[pytest.Item]], Any]) -> Any:
    plugin = _Session(run)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        pytest.main(["-p", "no:cacheprovider", *paths], plugins=[plugin])
    if isinstance(plugin.result, Exception):
        raise plugin.result
    return plugin.result


def _fails(item: pytest.Item) -> bool:
    """Run one test with its fixtures."""
    from _pytest.runner import runtestprotocol

    return any(report.failed for report in runtestprotocol(item, nextitem=None, log=False))


def survey(paths: Sequence[str], package: Path) -> Survey:
    """Raises: RuntimeError: a test fails as it is, so that it can tell nothing."""

    def run(items: list[pytest.Item]) -> Survey:
        seconds = {}
        for item in items:
            began = time.process_time()
            _forget()
            measured.switch_context(item.nodeid)
            if _fails(item):
                failing.append(item.nodeid)
            seconds[item.nodeid] = time.process_time() - began
        measured.stop()
        data = measured.get_data()
        found = {}
        for file in data.measured_files():
            lines = data.contexts_by_lineno(file)
            found[file] = {line: frozenset(filter(None, tests)) for line, tests in lines.items()}
        return Survey(seconds, found)

    def surveyed() -> tuple[Survey, list[str]]:
        measured.start()
        return _with_tests(paths, run), failing

    failing: list[str] = []
    measured = coverage.Coverage(data_file=None, source=[str(package)], config_file=False)
    found, failed = apart(surveyed)
    if failed:
        raise RuntimeError(f"without any mutant there fail: {', '.join(failed)}")
    return found


# The mutants ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """A mutant, the code of its module with it, and the tests that might notice it."""

    mutant: Mutant
    code: CodeType
    tests: Sequence[str]


def swapped(paths: Sequence[str], module: str, original: CodeType, attempts: Sequence[Attempt]) -> list[str]:
    """Of each attempt the test that noticed, or `SURVIVED`: its function's body is put into the function."""

    def run(items: list[pytest.Item]) -> list[str]:
        known = {item.nodeid: item for item in items}
        functions = dict(_functions(importlib.import_module(module)))
        before = {code.co_qualname: code for code in _codes(original)}
        found = [SURVIVED] * len(attempts)
        works = [partial(_swap_and_run, attempt, known, functions, before) for attempt in attempts]
        for index, told in in_forks(works, WORKERS):
            found[index] = told
        return found

    return apart(lambda: _with_tests(paths, run))


def _swap_and_run(
    attempt: Attempt,
    known: Mapping[str, pytest.Item],
    functions: Mapping[str, FunctionType],
    before: Mapping[str, CodeType],
) -> str:
    changed = {code.co_qualname: code for code in _codes(attempt.code) if code != before.get(code.co_qualname)}
    for name, code in changed.items():
        if name in functions:
            if functions[name].__code__.co_freevars != code.co_freevars:
                return SURVIVED  # It cannot be put in here (without its `super`, say): what is imported anew will tell.
            functions[name].__code__ = code
    _forget()
    signal.setitimer(signal.ITIMER_VIRTUAL, _ENDLESS_SECONDS)
    return next((test for test in attempt.tests if _fails(known[test])), SURVIVED)


def _forget() -> None:
    """What a cache holds was made without the mutant, and makes a test run less of the code than it does by itself."""
    for module in [module for name, module in sys.modules.items() if name.startswith("ratchet.domain")]:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Those of a module and its classes that functions are made of; what is within a function goes with it."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & 0x2:  # it has fast locals: a function, not a class
                yield inner
            else:
                yield from _codes(inner)


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            inner = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
            inner = getattr(inner, "__wrapped__", inner)
            if isinstance(inner, FunctionType):
                yield inner.__code__.co_qualname, inner


class _Mutated(MetaPathFinder, Loader):
    """Imports one module of ours from code that is at hand."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._code.co_filename, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, vars(module))


def imported(module: str, attempts: Sequence[Attempt]) -> list[str]:
    """The same, with everything of ours imported anew in each fork: this process must not have imported any of it."""
    assert not any(name.partition(".")[0] in _OURS for name in sys.modules)
    found = [SURVIVED] * len(attempts)
    for index, told in in_forks([partial(_import_and_run, module, attempt) for attempt in attempts], WORKERS):
        found[index] = told
    return found


def _import_and_run(module: str, attempt: Attempt) -> str:
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * _ENDLESS_SECONDS)
    sys.meta_path.insert(0, _Mutated(module, attempt.code))

    def run(items: list[pytest.Item]) -> str:
        known = {item.nodeid: item for item in items}
        # A test may be gone whose name comes from a value of the mutant.
        return next((test for test in attempt.tests if test not in known or _fails(known[test])), SURVIVED)

    files = list(dict.fromkeys(test.partition("::")[0] for test in attempt.tests))
    try:
        return str(_with_tests(files, run))
    except RuntimeError:
        return "the import"
