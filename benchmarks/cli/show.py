"""Markdown on standard output: its tables drawn by rich on a terminal, the text itself elsewhere, for files and pipes."""

from __future__ import annotations

import sys
from itertools import groupby

import click


def show(markdown: str) -> None:
    """Print Markdown, its tables drawn where standard output is a terminal."""
    if not sys.stdout.isatty():
        click.echo(markdown)
        return
    from rich.console import Console

    console = Console()
    for is_table, lines in groupby(markdown.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            console.print(drawn(list(lines)))
        else:
            console.print("\n".join(lines), markup=False, highlight=False)


def cells(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def drawn(lines: list[str]):
    """Return the rich table of a Markdown table: head, alignment, rows; `**bold**` stays bold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, aligned, *rows = map(cells, lines)
    table = Table(box=box.SIMPLE_HEAD)
    for title, alignment in zip(head, aligned, strict=True):
        table.add_column(Text(title), justify="right" if alignment.endswith(":") else "left")
    for row in rows:
        table.add_row(*(Text(cell.replace("**", ""), style="bold" if "**" in cell else "") for cell in row))
    return table
