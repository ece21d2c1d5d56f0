"""Checkpoints that survive whoever is killed while writing them."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as packed


def save(path, **things):
    """Write things under their names into one file, all of it or nothing.

    Things with a state_dict (modules, optimizers) and generators of random numbers are saved as
    their state, all else as JSON. The file is written beside its place and moved there when it is
    complete: whoever is killed while saving leaves the last checkpoint as it was.
    """
    arrays, notes = {}, {}
    for name, thing in things.items():
        if hasattr(thing, "state_dict"):
            arrays |= {f"{name}/{key}": a for key, a in thing.state_dict().items()}
        elif isinstance(thing, np.random.Generator):
            notes[name] = json.dumps(thing.bit_generator.state)
        else:
            notes[name] = json.dumps(thing)
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(packed(arrays, notes))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the move itself is on the disk only when the directory is
        directory = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def load(path, **things):
    """Bring things back to the state that save() wrote under their names; return all the rest.

    Everything is compared first, names, shapes and kinds: where something does not fit, nothing
    is changed. Nothing in the file is ever run.
    """
    try:
        with safe_open(path, framework="np") as file:
            notes = {name: json.loads(note) for name, note in (file.metadata() or {}).items()}
            arrays = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no checkpoint: {error}") from error
    states = {}
    for key, a in arrays.items():
        name, _, inner = key.partition("/")
        states.setdefault(name, {})[inner] = a
    lacking = sorted(things.keys() - states.keys() - notes.keys())
    if lacking:
        raise ValueError(f"{path} has no {', '.join(lacking)}")
    for name, thing in things.items():
        try:
            if not isinstance(thing, np.random.Generator):
                thing.check_state_dict(states[name])
            elif notes[name]["bit_generator"] != thing.bit_generator.state["bit_generator"]:
                raise ValueError(f"its state is that of a {notes[name]['bit_generator']}")
        except Exception as error:
            error.add_note(f"in {name} of {path}")
            raise
    for name, thing in things.items():
        if isinstance(thing, np.random.Generator):
            thing.bit_generator.state = notes.pop(name)
        else:
            thing.load_state_dict(states.pop(name))
    return notes | states
