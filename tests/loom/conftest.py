"""A small course for each test: the two hand-written places and the chapters it writes."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Toy:
    """A checkout in a temporary folder."""

    def __init__(self, root):
        self.root = root
        self.package = root / "grad"
        (root / "chapters").mkdir()
        hidden = shutil.ignore_patterns("*cache*")
        shutil.copytree(ROOT / "grad" / "course", self.package / "course", ignore=hidden)
        shutil.copy(ROOT / "grad" / "__init__.py", self.package)

    def chapter(self, stem, *sources, tags=()):
        """Write a chapter of code cells; a source that is one line of comment is prose."""
        cells = [cell(source, tags) for source in sources]
        path = self.root / "chapters" / f"{stem}.ipynb"
        path.write_text(json.dumps({"cells": cells, "metadata": {}}), encoding="utf-8")
        return path


def cell(source, tags=()):
    if source.startswith("# ") and "\n" not in source:
        return {"cell_type": "markdown", "metadata": {}, "source": source}
    metadata = {"tags": list(tags)} if tags else {}
    return dict(
        cell_type="code", metadata=metadata, source=source, outputs=[], execution_count=None
    )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Toy(tmp_path)


@pytest.fixture
def here(monkeypatch):
    """The real checkout, as the working directory."""
    monkeypatch.chdir(ROOT)
    return ROOT
