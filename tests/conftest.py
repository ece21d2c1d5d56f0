"""What every test run ends with: a plain list of what was not run here, and why."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    """Count the skipped tests by reason, so that nothing is left out in silence."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
        terminalreporter.section(f"not run here: {len(skipped)}")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:>4}  {reason}")
