"""Policies and suites from files: every finding with file, line and mend; nothing unknown is ever ignored.

A digest is over the canonical text of the validated content, so comments and layout do not change it. The text alone
builds the value again: that is how a decision is replayed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ratchet.adapters.rules.lints import lint, lint_times, lint_together
from ratchet.adapters.rules.policies import PolicyReader, empty_values, spelled_out
from ratchet.adapters.rules.policy_schema import PolicyFile
from ratchet.adapters.rules.reading import RuleErrors, stored, validated
from ratchet.adapters.rules.suites import SuiteFile, SuiteReader
from ratchet.adapters.yaml_files import BadYaml, Document, Finding, read
from ratchet.domain.keys import digest
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.rules import Rules
from ratchet.domain.suite import Suite

__all__ = ["Finding", "RuleErrors", "check", "load_rules", "policy_from_text", "suite_from_text"]


def load_rules(policies_dir: Path, suites_dir: Path) -> Rules:
    """`policies_dir` may also be one file. Raises: RuleErrors."""
    loaded = _Loaded.of(policies_dir, suites_dir)
    errors = [finding for finding in loaded.findings if finding.severity == "error"]
    if errors:
        raise RuleErrors(errors)
    policies = _owned([policy for _, policy in loaded.policies])
    parts = [f"suite:{suite.digest}" for _, suite in sorted(loaded.suites.items())]
    return Rules(
        policies=policies,
        suites=loaded.suites,
        digest=digest(*(f"policy:{policy.digest}" for policy in policies), *parts),
    )


def check(policies_dir: Path, suites_dir: Path, now: datetime | None = None) -> list[Finding]:
    """Everything worth saying about the files, warnings too, in the order of files and lines.

    `now`: also of dated windows that are over.
    """
    loaded = _Loaded.of(policies_dir, suites_dir)
    if now is not None:
        for document, policy in loaded.policies:
            loaded.findings += lint_times(document, policy, now)
    return sorted(loaded.findings, key=lambda finding: (finding.file, finding.line))


def policy_from_text(text: str) -> Policy:
    """The policy that has this canonical text, on the alias that it is written for, even if it was its shadow.

    Raises:
        RuleErrors: it is no policy's text.
    """
    document = stored(text)
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
    return policy


def suite_from_text(text: str) -> Suite:
    """The suite that has this canonical text.

    Raises:
        RuleErrors: it is no suite's text.
    """
    document = stored(text)
    findings: list[Finding] = []
    model = validated(SuiteFile, document, findings)
    suite = None if model is None else SuiteReader(document, findings).suite(model)
    if suite is None:
        raise RuleErrors(findings)
    return suite


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
    """What two folders hold, and all that is wrong with it. A policy is here even where something is."""

    policies: list[tuple[Document, Policy]] = field(default_factory=list)
    suites: dict[str, Suite] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, policies_dir: Path, suites_dir: Path) -> "_Loaded":
        loaded = cls()
        broken = loaded._read_suites(suites_dir)
        loaded._read_policies(policies_dir, broken)
        loaded.findings.sort(key=lambda finding: (finding.file, finding.line))
        return loaded

    def _read_suites(self, folder: Path) -> set[str] | None:
        """The names of suites that are wrong; None when that may be any name."""
        before = len(self.findings)
        documents = list(self._documents(folder, times_in_quotes=False))
        # A file that nobody can read may hold any suite: to call one unknown would be a guess.
        unnamed = len(self.findings) > before
        broken: set[str] = set()
        for document in documents:
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

    def _read_policies(self, folder: Path, broken: set[str] | None) -> None:
        digests = {name: suite.digest for name, suite in self.suites.items()}
        names: set[str] = set()
        for document in map(spelled_out, self._documents(folder, times_in_quotes=True)):
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

    def _documents(self, folder: Path, *, times_in_quotes: bool) -> Iterator[Document]:
        if not folder.exists():
            mend = "create it, or mend the settings"
            self.findings.append(Finding(folder.as_posix(), 1, "there is no such folder", mend))
            return
        paths = [folder] if folder.is_file() else [p for p in folder.iterdir() if p.suffix in (".yaml", ".yml")]
        for path in sorted(paths):
            try:
                yield read(path, times_in_quotes=times_in_quotes)
            except BadYaml as exc:
                self.findings.append(exc.finding)


def _name_in(document: Document) -> str:
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    return str(metadata.get("name")) if isinstance(metadata, dict) else ""
