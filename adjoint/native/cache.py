"""Bytes on disk under a key, for machine code that is expensive to make.

    folder      $ADJOINT_CACHE_DIR, else the user's cache folder of this platform
    file        MAGIC | sha256(payload) | payload

A file is written under a temporary name and then renamed, so that a reader (another process, perhaps) sees all of it or
nothing; the checksum catches what a full disk or a power cut left behind, and such a file counts as absent. A folder
that cannot be read or written costs one warning and the saving, nothing else. The folder is kept below `LIMIT` bytes by
dropping the files that were not used for longest.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

MAGIC = b"adjoint\x01"
LIMIT = 500 * 1024 * 1024

_SUFFIX = ".code"
_warned: set[Path] = set()
_trimmed: set[Path] = set()


def folder() -> Path:
    """The folder of the cache: ``ADJOINT_CACHE_DIR`` if it is set, else `adjoint` in the user's cache folder."""
    chosen = os.environ.get("ADJOINT_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "adjoint" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "adjoint"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "adjoint"


def load(key: str) -> bytes | None:
    """The payload stored under `key`, or None if there is none or the file is damaged."""
    path = folder() / (key + _SUFFIX)
    try:
        content = path.read_bytes()
    except OSError:  # absent, or not ours to read: `store` will say so
        return None
    start = len(MAGIC) + 32
    payload = content[start:]
    if content[: len(MAGIC)] != MAGIC or content[len(MAGIC) : start] != hashlib.sha256(payload).digest():
        return None
    try:
        os.utime(path)  # used now: among the last to be dropped
    except OSError:
        pass
    return payload


def store(key: str, payload: bytes) -> None:
    """Keep `payload` under `key`. Warns once, and goes on, if the folder cannot be written."""
    place = folder()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place, prefix=key[:16], suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, place / (key + _SUFFIX))
        except BaseException:
            os.unlink(temporary)
            raise
        if place not in _trimmed:  # once a process is enough
            _trimmed.add(place)
            trim(place, LIMIT)
    except OSError as error:
        if place not in _warned:
            _warned.add(place)
            warnings.warn(
                f"adjoint cannot keep compiled code in {place} ({error.strerror or error}), so every process compiles"
                " again. Set ADJOINT_CACHE_DIR to a folder that can be written.",
                RuntimeWarning,
                stacklevel=2,
            )


def trim(place: Path, limit: int) -> None:
    """Delete the files of `place` that were not used for longest until the rest takes at most `limit` bytes."""
    files = []
    for path in place.iterdir():
        if path.suffix in (_SUFFIX, ".tmp"):
            try:
                status = path.stat()
            except OSError:  # another process was faster
                continue
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
