"""The unit of a file: what its format or an index says, held against the size of a person."""

from __future__ import annotations

from bodystream.errors import InputError

__all__ = ["UNITS_M", "guess_unit", "metres_per_unit"]

UNITS_M = {
    "metres": 1.0,
    "centimetres": 0.01,
    "inches": 0.0254,
    "CMU's 1/0.45 inch": 0.0254 / 0.45,
    "millimetres": 1e-3,
}
_HEAD_JOINT_M = (1.02, 1.88)
"""Heights of the head joint above the toes that a person of 1.2 to 2.1 m has."""
_BELIEVED_M = (0.68, 2.05)
"""The same for what a file says itself: children, and people as tall as ever were measured, are not doubted."""
_SAME = 0.02
_REMEDY = "scale it, or list it with its unit_m in an index.csv beside it"


def guess_unit(head_height: float, name: str) -> tuple[str, float]:
    """Name and metres of the unit in which a head joint `head_height` above the toes is a person's.

    Raises:
        InputError: no unit fits.
    """
    for unit, metres in UNITS_M.items():
        if _HEAD_JOINT_M[0] <= head_height * metres <= _HEAD_JOINT_M[1]:
            return unit, metres
    raise InputError(
        f"{name}: its skeleton is {head_height:.4g} units from the toes to the head, which is no person's size in "
        f"{', '.join(UNITS_M)}: {_REMEDY}"
    )


def metres_per_unit(
    head_height: float, says_file: float | None, says_index: float | None, name: str, notes: list[str]
) -> float:
    """The unit to take [m].

    What an index says is a person's own word and is taken; what a file says is taken where it makes a person, and else
    doubted: writers of ASF files put 1.0 for any unit.

    Args:
        head_height: of the head joint above the toes at rest, in units of the file.
        says_file, says_index: metres per unit, or None.
        name: of the file, for messages.
        notes: what was doubted or guessed is appended.

    Raises:
        InputError: no unit fits.
    """
    if says_index is not None and (says_file is None or abs(says_index / says_file - 1.0) > _SAME):
        if not _BELIEVED_M[0] <= head_height * says_index <= _BELIEVED_M[1]:
            notes.append(
                f"its unit_m of {says_index:.4g} in the index.csv puts the head joint {head_height * says_index:.2f} m "
                "above the toes, which is no person's size"
            )
        return says_index
    if says_file is not None and _BELIEVED_M[0] <= head_height * says_file <= _BELIEVED_M[1]:
        return says_file
    unit, metres = guess_unit(head_height, name)
    if says_file is None:
        notes.append(f"its unit was taken to be {unit}, from the size of its skeleton")
    else:
        notes.append(
            f"its own unit of length makes the head joint stand {head_height * says_file:.3g} m above the toes, which "
            f"is no person's size; {unit} were taken, in which it is {head_height * metres:.2f} m (unit_m in an "
            "index.csv beside it settles it)"
        )
    return metres
