"""Say what this machine has and lacks for the course.

Each gap stands beside its remedy. A gap in what every chapter needs makes the doctor unhappy; the
rest is for some chapters, which say so.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from grad.course import places

PURPOSES = {
    "peers": "benchmarks against other engines",
    "instructor": "handing out and collecting exercises",
    "dev": "writing chapters",
    "mpi": "many processes in one step",
}


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    good: bool
    text: str  # what was found, or the remedy
    needed: bool = False

    def __str__(self):
        state = "ok" if self.good else "MISSING" if self.needed else "-"
        return f"{state:<8}{self.what:<12}{self.text}"


def findings(root):
    """Look at one thing after the other."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    yield python()
    yield packages("course", [*project["dependencies"], *extras["course"]], needed=True)
    yield drawing()
    yield kernel(root)
    yield compiler()
    yield gpu()
    yield torch()
    for name, purpose in PURPOSES.items():
        yield packages(name, extras[name], purpose=purpose)


def python():
    found = sys.version.split()[0]
    good = sys.version_info >= (3, 11)
    return Finding("Python", good, found if good else f"{found}; install 3.11 or newer", True)


def packages(extra, requirements, needed=False, purpose=""):
    """The packages of one extra, by the names and lower bounds in pyproject.toml."""
    gaps = [gap for requirement in requirements if (gap := missing(requirement))]
    if not gaps:
        return Finding(extra, True, ", ".join(map(name_of, requirements)), needed)
    use = f" (for {purpose})" if purpose else ""
    return Finding(extra, False, f'{", ".join(gaps)}: pip install -e ".[{extra}]"{use}', needed)


def missing(requirement):
    """What a requirement lacks: None, its name, or the version that is too old."""
    name, bound = name_of(requirement), re.search(r"[>=]=([\d.]+)|$", requirement)[1]
    try:
        found = version(name)
    except PackageNotFoundError:
        return name
    return f"{name} {found} is older than {bound}" if numbers(found) < numbers(bound) else None


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0]


def numbers(text):
    return [int(part) for part in re.findall(r"\d+", text or "")[:3]]


def drawing():
    """Draw a graph of two nodes, as the chapters do."""
    try:
        import graphviz
        from graphviz.backend import dot_command

        suffix = ".exe" if sys.platform == "win32" else ""
        pure = Path(sysconfig.get_path("scripts"), f"graphviz-pure{suffix}")
        dot_command.DOT_BINARY = pure if pure.exists() else "dot"
        svg = graphviz.Source("digraph { a -> b }").pipe(format="svg")
    except Exception as error:
        remedy = f"{first_line(error)}: pip install -e ."
        return Finding("graphs", False, remedy, True)
    return Finding("graphs", b"<svg" in svg, f"drawn by {dot_command.DOT_BINARY.name}", True)


def kernel(root):
    """Start the kernel that JupyterLab would start, and import the package in it."""
    try:
        from jupyter_client.manager import start_new_kernel

        manager, client = start_new_kernel(
            cwd=str(root / "chapters"), extra_arguments=["--log-level=ERROR"]
        )
    except Exception as error:
        return Finding("kernel", False, f'{first_line(error)}: pip install -e ".[course]"', True)
    try:
        reply = client.execute("import grad", reply=True, timeout=60)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    good = reply["status"] == "ok"
    remedy = f"{reply.get('evalue')}: pip install -e . with the Python that runs JupyterLab"
    return Finding("kernel", good, "starts and imports grad" if good else remedy, True)


def compiler():
    found = next(filter(None, map(shutil.which, ["c++", "g++", "clang++", "cl"])), None)
    remedy = "no C++ compiler; without one, what compares with C is skipped"
    return Finding("compiler", bool(found), found or remedy)


def gpu():
    """Ask the driver first, then CuPy."""
    smi = shutil.which("nvidia-smi")
    asked = [smi, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True) if smi else None
    if answer is None or answer.returncode:
        return Finding("GPU", False, "none; the chapters on GPUs run on a stand-in and say so")
    name = first_line(answer.stdout)
    if find_spec("cupy") is None:
        return Finding("GPU", False, f'{name}, but no CuPy: pip install -e ".[cuda13]", or cuda12')
    import cupy

    works = cupy.cuda.is_available()
    return Finding("GPU", works, name if works else f"{name}, but CuPy can't use it: try cuda12")


def torch():
    if find_spec("torch") is None:
        return Finding(
            "torch", False, "what compares with torch is skipped; the README says how to install it"
        )
    return Finding("torch", True, version("torch"))


def first_line(text):
    return (str(text).strip().splitlines() or [""])[0]


def arguments(parser):
    pass


def run(args):
    healthy = True
    for finding in findings(places.root()):
        print(finding, flush=True)
        healthy &= finding.good or not finding.needed
    print("\nready" if healthy else "\nnot ready: see the lines marked MISSING")
    return int(not healthy)
