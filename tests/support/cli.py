"""The `ratchet` command on a real folder: its files, and a store that the application itself has filled."""

from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from ratchet.adapters.rule_files import load_rules
from ratchet.adapters.sqlite import SqliteStore
from ratchet_cli.main import app
from support.world import CASES, World

POLICY = """\
kind: PromotionPolicy
metadata: {name: support-router-prod}
spec:
  line: support-router
  alias: prod
  mode: enforce
  select: {providers: [vertex, openai], labels: {ratchet-line: support-router}}
  evidence: {suites: [{suite: core, minCases: 10}]}
  gates:
    - {id: alive, metric: suites.core.error_rate, pass: "<= 0.02"}
    - {id: quality, metric: suites.core.pass_rate, pass: ">= 0.90"}
    - {id: no-drop, metric: suites.core.pass_rate, pass: ">= baseline - 0.01"}
  choose: [{metric: suites.core.pass_rate, better: higher, tie: 0.01}, {metric: step, better: lower}]
  apply: [vertexDefault]
"""


@dataclass(frozen=True)
class Home:
    """A folder with ratchet.yaml, rules and, once `world` is asked for, a store."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "ratchet.yaml"

    @property
    def database(self) -> Path:
        return self.folder / "ratchet.db"

    def write(self, more: str = "", cases: int = CASES) -> "Home":
        (self.folder / "policies").mkdir()
        (self.folder / "suites").mkdir()
        (self.folder / "policies" / "prod.yaml").write_text(POLICY)
        (self.folder / "suites" / "core.yaml").write_text(_suite(cases))
        self.config.write_text(
            f"store: sqlite:///{self.database}\n"
            'since: "2026-11-22T11:00:00Z"\n'
            f"policies_dir: {self.folder / 'policies'}\n"
            f"suites_dir: {self.folder / 'suites'}\n{more}"
        )
        return self

    def world(self) -> World:
        """The whole application, working on this folder's store by this folder's rules."""
        world = World(load_rules(self.folder / "policies", self.folder / "suites"))
        world.store = SqliteStore(self.database)
        return world

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config)])


def _suite(cases: int) -> str:
    tests = "".join(
        f'    - {{id: case-{n}, vars: {{n: "{n}"}}, assert: [{{type: equals, value: right}}]}}\n' for n in range(cases)
    )
    return 'kind: Suite\nmetadata: {name: core}\nspec:\n  prompts: ["{{n}}"]\n  run: {repeats: 1}\n  tests:\n' + tests
