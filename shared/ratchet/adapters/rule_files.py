"""Policies and suites from files: every finding with file, line and mend; nothing unknown is ever ignored.

A digest is over the canonical text of the validated content, so comments and layout do not change it. The text alone
builds the value again: that is how a decision is replayed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from ratchet.adapters.rules.imports import expanded
from ratchet.adapters.rules.lints import lint, lint_times, lint_together
from ratchet.adapters.rules.policies import PolicyReader, empty_values, spelled_out
from ratchet.adapters.rules.policy_schema import PolicyFile
from ratchet.adapters.rules.reading import RuleErrors, stored, text_digest, validated
from ratchet.adapters.rules.suites import SuiteFile, SuiteReader
from ratchet.adapters.yaml_files import BadYaml, Document, Finding, read
from ratchet.domain.keys import digest
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.rules import Rules
from ratchet.domain.suite import Suite

__all__ = ["Finding", "RuleErrors", "check", "load_policy", "load_rules", "policy_from_text", "suite_from_text"]


def load_rules(policies_dir: Path, suites_dir: Path) -> Rules:
    """Raises: RuleErrors."""
    return _Loaded.of(policies_dir, suites_dir).rules()


def load_suites(folder: Path) -> Mapping[str, Suite]:
    """The suites alone, whatever is wrong with the policies. Raises: RuleErrors."""
    loaded = _Loaded()
    loaded.read_suites(folder)
    return loaded.rules().suites


def load_policy(path: Path, suites_dir: Path) -> Rules:
    """The rules that this one policy would make, whatever others there are.

    Raises:
        RuleErrors.
    """
    loaded = _Loaded()
    loaded.read_policies([path], loaded.read_suites(suites_dir))
    return loaded.rules()


def check(policies_dir: Path, suites_dir: Path, now: datetime | None = None) -> list[Finding]:
    """Everything worth saying about the files, warnings too, in the order of files and lines.

    `now`: also of dated windows that are over.
    """
    loaded = _Loaded.of(policies_dir, suites_dir)
    if now is not None:
        for document, policy in loaded.policies:
            loaded.findings += lint_times(document, policy, now)
    return loaded.in_order()


def policy_from_text(text: str) -> Policy:
    """The policy that was kept as this text, on the alias that it is written for, even if it was its shadow.

    Its digest is the text's, whatever else a newer release would write into it.

    Raises:
        RuleErrors: it is no policy's text.
    """
    document = spelled_out(stored(text))
    digests = document.data.pop("suiteDigests", {})
    findings: list[Finding] = []
    model = validated(PolicyFile, document, findings)
    if model is None or not isinstance(digests, dict):
        raise RuleErrors(findings or [document.finding((), "this is no policy's text", "load the files again")])
    policy = PolicyReader(document, findings).policy(model, digests)
    if any(not isinstance(wanted.suite_digest, str) or not wanted.suite_digest for wanted in policy.evidence):
        findings.append(document.finding((), "a suite's digest is missing", "load the files again"))
    if findings:
        raise RuleErrors(findings)
    return replace(policy, text=text, digest=text_digest(text))


def suite_from_text(text: str) -> Suite:
    """The suite that was kept as this text; its digest is the text's.

    Raises:
        RuleErrors: it is no suite's text.
    """
    document = stored(text)
    findings: list[Finding] = []
    model = validated(SuiteFile, document, findings)
    suite = None if model is None else SuiteReader(document, findings).suite(model)
    if suite is None:
        raise RuleErrors(findings)
    return replace(suite, text=text, digest=text_digest(text))


def _owned(policies: Sequence[Policy]) -> tuple[Policy, ...]:
    """By name. Of those on one alias the one that enforces owns it, or else the first; the others are its shadows."""
    ordered = sorted(policies, key=lambda policy: policy.name)
    owners: dict[str, Policy] = {}
    for policy in sorted(ordered, key=lambda policy: policy.mode is not Mode.ENFORCE):
        if policy.mode is not Mode.DISABLED:
            owners.setdefault(str(policy.alias), policy)
    return tuple(
        policy
        if policy.mode is Mode.DISABLED or owners[str(policy.alias)] is policy
        else replace(policy, alias=policy.alias.shadow(policy.name))
        for policy in ordered
    )


@dataclass
class _Loaded:
    """What the files hold, and all that is wrong with it. A policy is here even where something is."""

    policies: list[tuple[Document, Policy]] = field(default_factory=list)
    suites: dict[str, Suite] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, policies_dir: Path, suites_dir: Path) -> Self:
        loaded = cls()
        broken = loaded.read_suites(suites_dir)
        loaded.read_policies(loaded._files(policies_dir), broken)
        return loaded

    def in_order(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: (finding.file, finding.line))

    def rules(self) -> Rules:
        """Raises: RuleErrors."""
        errors = [finding for finding in self.in_order() if finding.severity == "error"]
        if errors:
            raise RuleErrors(errors)
        policies = _owned([policy for _, policy in self.policies])
        parts = [f"policy:{policy.digest}" for policy in policies]
        parts += [f"suite:{suite.digest}" for _, suite in sorted(self.suites.items())]
        return Rules(policies=policies, suites=self.suites, digest=digest(*parts))

    def read_suites(self, folder: Path) -> set[str] | None:
        """The names of suites that are wrong; None when that may be any name."""
        before = len(self.findings)
        documents = list(self._documents(self._files(folder), unambiguous=False))
        # A file that nobody can read may hold any suite: to call one unknown would be a guess.
        unnamed = len(self.findings) > before
        broken: set[str] = set()
        for document in (expanded(document, self.findings) for document in documents):
            model = validated(SuiteFile, document, self.findings)
            suite = None if model is None else SuiteReader(document, self.findings).suite(model)
            if suite is None:
                name = _name_in(document)
                unnamed |= not name
                broken.add(name)
            elif suite.name in self.suites:
                self._twice(document, "suite", suite.name)
            else:
                self.suites[suite.name] = suite
        return None if unnamed else broken

    def read_policies(self, paths: Sequence[Path], broken: set[str] | None) -> None:
        digests = {name: suite.digest for name, suite in self.suites.items()}
        names: set[str] = set()
        for document in map(spelled_out, self._documents(paths, unambiguous=True)):
            empty = list(empty_values(document))
            self.findings += empty
            model = None if empty else validated(PolicyFile, document, self.findings)
            if model is None:
                continue
            policy = PolicyReader(document, self.findings).policy(model, digests)
            self.findings += lint(document, policy, self.suites, broken)
            if policy.name in names:
                self._twice(document, "policy", policy.name)
            names.add(policy.name)
            self.policies.append((document, policy))
        self.findings += lint_together(self.policies)

    def _twice(self, document: Document, kind: str, name: str) -> None:
        what = f"another {kind} is named `{name}`"
        self.findings.append(document.finding(("metadata", "name"), what, "rename one of them"))

    def _files(self, folder: Path) -> Sequence[Path]:
        if not folder.is_dir():
            mend = "create it, or mend the settings"
            self.findings.append(Finding(folder.as_posix(), 1, "there is no such folder", mend))
            return []
        return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))

    def _documents(self, paths: Sequence[Path], *, unambiguous: bool) -> Iterator[Document]:
        for path in paths:
            try:
                yield read(path, unambiguous=unambiguous)
            except BadYaml as exc:
                self.findings.append(exc.finding)


def _name_in(document: Document) -> str:
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""
