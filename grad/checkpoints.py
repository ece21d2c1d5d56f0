"""Checkpoints that survive whoever is killed while writing them."""

import json
import os
import secrets
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as packed


def save(path, **things):
    """Write things under their names into one file, all of it or nothing.

    Things with a state_dict (modules, optimizers) and generators of random numbers are saved as
    their state, all else as JSON. The file is written beside its place and moved there when it is
    complete, which POSIX systems do as a whole or not at all: whoever is killed while saving leaves
    the last checkpoint as it was.
    """
    arrays, notes = {}, {}
    for name, thing in things.items():
        if hasattr(thing, "state_dict"):
            state = thing.state_dict() or {"": np.zeros(0)}  # a mark, so that load() finds the name
            arrays |= {f"{name}/{key}": a for key, a in state.items()}
        elif isinstance(thing, np.random.Generator):
            notes[name] = json.dumps(thing.bit_generator.state, default=lambda a: a.tolist())
        else:
            notes[name] = json.dumps(thing)
    path = Path(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")  # two may save at a time
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


def noted(text):
    """Return what save() noted as JSON; text that others have written stays text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def try_out(rng, state):
    """Refuse a state that does not fit a generator of random numbers: one of its kind tries it."""
    fresh = type(rng.bit_generator)()
    try:
        fresh.state = state
    except Exception as error:
        raise ValueError(f"the state does not fit a {type(fresh).__name__}: {error!r}") from error


def load(path, **things):
    """Bring things back to the state that save() wrote under their names; return all the rest.

    Everything is compared first, names, shapes and kinds: where something does not fit, nothing
    is changed. Nothing in the file is ever run.
    """
    try:
        with safe_open(path, framework="np") as file:
            notes = {name: noted(note) for name, note in (file.metadata() or {}).items()}
            arrays = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is no checkpoint: {error}") from error
    states = {}
    for key, a in arrays.items():
        name, _, inner = key.partition("/")
        state = states.setdefault(name, {})
        if key != f"{name}/":  # which marks a state without arrays
            state[inner] = a
    for name, thing in things.items():
        random = isinstance(thing, np.random.Generator)
        if name not in (notes if random else states):
            kind = type(thing).__name__
            raise ValueError(f"{path} has no {name} with a state for {kind}")
        try:
            if random:
                try_out(thing, notes[name])
            else:
                thing.check_state_dict(states[name])
        except Exception as error:
            error.add_note(f"in {name} of {path}")
            raise
    for name, thing in things.items():
        if isinstance(thing, np.random.Generator):
            thing.bit_generator.state = notes.pop(name)
        else:
            thing.load_state_dict(states.pop(name))
    return notes | states
