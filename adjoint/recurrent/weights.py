"""Weights on disk: an ``.npz`` file with one array for each part of p and a JSON header; no pickle.

The header says what the file is, its version, and the shape of each part, in the order in which they lie in p.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adjoint.errors import InputError
from adjoint.recurrent.cell import Cell
from adjoint.recurrent.network import Network

__all__ = ["load_weights", "save_weights"]

KIND, VERSION = "adjoint weights", 1


def save_weights(file: str | Path, owner: Cell | Network, p: ArrayLike) -> None:
    """Write the weights of a cell or a network; read back with `load_weights`.

    Parameters
    ----------
    file : path
        Is written under this very name; ``.npz`` is usual.
    owner : Cell or Network
        Whose weights they are.
    p : array_like (n_p,)
        Kept in its own precision.

    Raises
    ------
    InputError
        If p is not a vector of finite numbers for `owner`.
    """
    array = np.asarray(p)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(f"p has type {array.dtype} or numbers that are not finite; such weights are not saved.")
    parts = owner.unpack(array)
    header = {"kind": KIND, "version": VERSION, "shapes": {name: list(part.shape) for name, part in parts.items()}}
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open(file, "wb") as stream:
        np.savez(stream, header=text, **{f"part {i}": part for i, part in enumerate(parts.values())})  # type: ignore[arg-type]


def load_weights(file: str | Path, owner: Cell | Network) -> NDArray[np.float64]:
    """Weights that `save_weights` wrote.

    Parameters
    ----------
    file : path
    owner : Cell or Network
        With the same names and shapes as the one that was saved.

    Returns
    -------
    p : array (n_p,)

    Raises
    ------
    InputError
        If the file holds no weights, or those of something else.
    FileNotFoundError
        If there is no such file.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes().decode())
            kind, version = header["kind"], header["version"]
            shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
            parts = [stored[f"part {i}"] for i in range(len(shapes))]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} holds no weights that `save_weights` wrote ({error}).") from None
    if kind != KIND or version != VERSION:
        raise InputError(f"{file} holds {kind!r}, version {version!r}; this program reads {KIND!r}, version {VERSION}.")
    wanted = owner.parameters
    if list(shapes.items()) != list(wanted.items()):
        names = sorted({*shapes, *wanted}, key=[*wanted, *shapes].index)
        different = [f"{name}: {shapes.get(name, 'absent')} in the file, {wanted.get(name, 'absent')} wanted"
                     for name in names if shapes.get(name) != wanted.get(name)]  # fmt: skip
        raise InputError(f"{file} does not fit {owner!r}: {'; '.join(different) or 'the parts have another order'}.")
    p = owner.pack(dict(zip(shapes, parts, strict=True)))
    if not np.isfinite(p).all():
        raise InputError(f"{file} holds numbers that are not finite.")
    return p
