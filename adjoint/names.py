"""Lists of names: ``"h v m"`` and ``"position[3] speed"``; and of the arguments of a user's function.

A name stands for one number. ``q[6]`` stands for the six numbers q0 … q5 and remembers their group: ``q`` is then a
slice.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adjoint.errors import InputError

__all__ = ["Names", "check_takes", "near"]

_ITEM = re.compile(r"([^\W\d]\w*)(?:\[(\d+)\])?")


@dataclass(frozen=True)
class Names:
    """The names of the components of one vector.

    Attributes
    ----------
    labels : tuple of str
        One per component.
    groups : dict from str to slice
        For each ``name[size]`` of the specification, the components that it stands for.
    """

    labels: tuple[str, ...]
    groups: dict[str, slice] = field(default_factory=dict)

    @classmethod
    def parse(cls, specification: str | Iterable[str], role: str) -> Names:
        """Read ``"h v q[6]"``, ``"h, v, q[6]"`` or ``["h", "v", "q[6]"]``.

        Parameters
        ----------
        specification : str or iterable of str
        role : str
            What is being named, for the messages: ``"states of system 'rocket'"``.

        Raises
        ------
        InputError
            If an item is no identifier, or a name occurs twice.
        """
        items = specification.replace(",", " ").split() if isinstance(specification, str) else list(specification)
        labels: list[str] = []
        groups: dict[str, slice] = {}
        for item in items:
            match = _ITEM.fullmatch(item) if isinstance(item, str) else None
            if match is None:
                raise InputError(
                    f"{role}: {item!r} is no name. Write names such as 'h v m' or 'q[6]', "
                    "letters, digits and underscores, not starting with a digit."
                )
            name, size = match.groups()
            if size is None:
                labels.append(name)
                continue
            if int(size) == 0:
                raise InputError(f"{role}: {item!r} names no component; a group has at least one.")
            if name in groups:
                raise InputError(f"{role}: the name {name!r} occurs twice. Each name stands for one thing.")
            groups[name] = slice(len(labels), len(labels) + int(size))
            labels.extend(f"{name}{i}" for i in range(int(size)))
        seen: set[str] = set()
        for label in [*labels, *groups]:
            if label in seen:
                raise InputError(f"{role}: the name {label!r} occurs twice. Each name stands for one thing.")
            seen.add(label)
        return cls(tuple(labels), groups)

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int | slice | None:
        """The component or components called `name`; None if nothing is."""
        if name in self.groups:
            return self.groups[name]
        return self.labels.index(name) if name in self.labels else None

    @property
    def specification(self) -> tuple[str, ...]:
        """What `parse` reads back to the same names."""
        starts = {group.start: (name, group.stop) for name, group in self.groups.items()}
        items: list[str] = []
        i = 0
        while i < len(self.labels):
            if i in starts:
                name, stop = starts[i]
                items.append(f"{name}[{stop - i}]")
                i = stop
            else:
                items.append(self.labels[i])
                i += 1
        return tuple(items)

    def __str__(self) -> str:
        shown = self.specification
        return ", ".join(shown if len(shown) <= 8 else (*shown[:6], "…", shown[-1]))


def near(name: str, known: Sequence[str]) -> str:
    """The sentence that offers the names nearest to a wrong one, or all names if none is near."""
    close = difflib.get_close_matches(name, list(known), n=3)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    shown = list(known) if len(known) <= 12 else [*known[:11], "…"]
    return f"Known names: {', '.join(shown)}." if shown else "It has no names."


def check_takes(f: Callable[..., Any], arguments: Sequence[str], what: str) -> None:
    """Refuse a function that cannot be called with so many arguments.

    Parameters
    ----------
    f : callable
    arguments : sequence of str
        Their names, for the message.
    what : str
        What the function is, as the message begins: ``"system 'rocket': the function"``.

    Raises
    ------
    InputError
        If it takes fewer or more.
    """
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # built-in functions tell nothing; tracing will
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        count = {2: "two", 3: "three", 4: "four"}.get(len(arguments), str(len(arguments)))
        raise InputError(
            f"{what} takes {signature}; expected {count} arguments ({', '.join(arguments)}). "
            f"Keep all {count} even where some are not used."
        ) from None
