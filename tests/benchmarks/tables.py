"""Plain text in columns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: the first column to the left, figures to the right, columns that are empty left out.

    Args:
        header: A title per column.
        rows: As many cells in each as the header has.

    Returns:
        The header, a rule and the rows.
    """
    used = [at for at in range(len(header)) if at == 0 or any(row[at] for row in rows)]
    widths = {at: max(len(line[at]) for line in (header, *rows)) for at in used}

    def line(cells: Sequence[str]) -> str:
        return "  ".join(f"{cells[at]:{'<' if at == 0 else '>'}{widths[at]}}" for at in used).rstrip()

    return [line(header), "-" * (sum(widths.values()) + 2 * (len(used) - 1)), *map(line, rows)]
