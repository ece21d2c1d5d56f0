"""Pictures of a graph, drawn from the objects themselves."""

import hashlib
import shutil
import sysconfig
from base64 import b64encode
from html import escape
from pathlib import Path

import graphviz
from graphviz.backend import dot_command

from grad.node import ancestors

# The renderer is a wheel: a picture needs no system program and is laid out alike everywhere.
# Its absolute path matters, because a kernel may run with no PATH to the environment.
# DOT_BINARY is set for the whole process: whoever else draws with graphviz there draws with this.
SCRIPTS = sysconfig.get_path("scripts")
RENDERER = shutil.which("graphviz-pure", path=SCRIPTS) or shutil.which("graphviz-pure")
if RENDERER:
    dot_command.DOT_BINARY = Path(RENDERER)

INK, QUIET, PAPER, LEAF, MARK = "#1f2933", "#7b8794", "#fcfcfa", "#dde7f0", "#ffd966"


def label(node, grads=False):
    """Describe a node line by line: its operation, its data and, if wanted, its gradient."""
    lines = [node.op, f"{node.data:.4g}", f"grad {node.grad:.4g}" if grads else ""]
    return "\n".join(line for line in lines if line)


def graph(root, mark=(), label=label, grads=None, **names):
    """Draw root and everything it was computed from, left to right; leaves are shaded.

    Nodes in `mark` are highlighted, and a keyword argument names a node: graph(z, x=x, y=y).
    Gradients are shown once any has arrived, or as `grads` says. `label(node, grads)` gives
    the text. Returns a graphviz.Digraph, which JupyterLab shows as a picture.
    """
    nodes = ancestors(root)[::-1]
    if grads is None:
        grads = any(node.grad for node in nodes)
    called = {node: name for name, node in names.items()}
    marked = set(mark)
    key = {node: f"n{i}" for i, node in enumerate(nodes)}
    picture = graphviz.Digraph(format="svg")
    picture.attr(rankdir="LR", bgcolor=PAPER, nodesep="0.2", ranksep="0.35", pad="0.15")
    picture.attr("node", shape="box", style="rounded,filled", color=QUIET, fontcolor=INK)
    picture.attr("node", fontname="Helvetica", fontsize="11", margin="0.1,0.05", width="0.8")
    picture.attr("edge", color=QUIET, arrowsize="0.6")
    for node in nodes:
        fill = MARK if node in marked else PAPER if node.parents else LEAF
        text = f"{called[node]}\n" if node in called else ""
        picture.node(key[node], text + label(node, grads), fillcolor=fill)
        for parent in node.parents:
            picture.edge(key[parent], key[node])
    return picture


FRAME = """<figure style="display:inline-block; margin:4px; vertical-align:top">
<img alt="{caption}" src="data:image/svg+xml;base64,{image}">
<figcaption style="font-size:90%; max-width:48em">{number}. {caption}</figcaption></figure>"""

# Equal films have equal keys, so that an output is the same on every run: each script takes the
# first box that no other has taken.
SLIDER = """<div id="{key}">{frames}</div>
<script>
(() => {{
  const box = document.querySelector('[id="{key}"]:not([data-on])');
  const frames = [...box.querySelectorAll("figure")];
  box.dataset.on = "";
  const slider = document.createElement("input");
  Object.assign(slider, {{type: "range", min: 0, max: frames.length - 1, value: 0}});
  slider.setAttribute("aria-label", "step");
  slider.style.width = "24em";
  const show = () => frames.forEach((frame, i) => {{
    frame.style.display = i == slider.value ? "block" : "none";
  }});
  slider.oninput = show;
  box.prepend(slider);
  show();
}})();
</script>"""


class Steps:
    """Pictures with captions: a slider where scripts run, a strip of frames where they do not.

    `frames` is a list of (picture, caption) pairs; a picture is what `graph` returns.
    """

    def __init__(self, frames):
        self.frames = list(frames)

    def _repr_html_(self):
        frames = "\n".join(
            FRAME.format(
                number=i,
                caption=escape(caption),
                image=b64encode(picture.pipe()).decode(),
            )
            for i, (picture, caption) in enumerate(self.frames, 1)
        )
        key = "steps-" + hashlib.sha256(frames.encode()).hexdigest()[:8]
        return SLIDER.format(key=key, frames=frames)
