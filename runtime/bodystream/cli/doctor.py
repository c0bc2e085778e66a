"""`bodystream doctor`: what is installed, which devices and providers work, and what to do about what does not."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from bodystream import __version__
from bodystream.cli.checks import run_checks
from bodystream.cli.finding import Check
from bodystream.cli.options import BundleWords

__all__ = ["Doctor"]

_COLOURS = {"ok": "green", "missing": "bold red", "optional": "yellow"}


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, which devices and providers work, and what to do about what does not.

    Every kernel is loaded, and built where it is not in the cache, which takes a minute or two on a first start. Exit
    code 0 when everything that is needed works, else 1. Optional parts that are absent do not count.
    """

    bundle: BundleWords = ()
    """A bundle of your own to look at as well, a folder or a zip file, by the name of a known one: pose=PATH."""

    json: bool = False
    """Print one JSON object: `version`, `ok`, and `checks`, a list of `{name, state, found, remedy}`."""

    def run(self) -> int:
        from bodystream.bundles import KNOWN, BundleChoice
        from bodystream.cli.checks_bundles import check_choice

        chosen = BundleChoice.parse(self.bundle, KNOWN)
        findings = [*run_checks(), *check_choice(chosen)]
        healthy = all(check.state != "missing" for check in findings)
        if self.json:
            rows = [dataclasses.asdict(check) for check in findings]
            print(json.dumps({"version": __version__, "ok": healthy, "checks": rows}, indent=2))
        else:
            _print_table(findings, healthy)
        return 0 if healthy else 1


def _print_table(findings: list[Check], healthy: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("what", "state", "found, and what to do"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("what", "state"))
    for check in findings:
        detail = Text(check.found)
        if check.remedy:
            detail.append(f"\n-> {check.remedy}", style=_COLOURS[check.state])
        table.add_row(Text(check.name), Text(check.state, style=_COLOURS[check.state]), detail)
    console = Console()
    console.print(table)
    missing = [check.name for check in findings if check.state == "missing"]
    console.print(
        Text("everything that is needed works", style="green")
        if healthy
        else Text(f"does not work: {', '.join(missing)}", style="bold red")
    )
