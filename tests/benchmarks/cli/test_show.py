import io

from rich.console import Console
from vocbench.benchmarks.cli.show import drawn, show

MARKDOWN = "Caption.\n\n| a | mAP |\n| --- | ---: |\n| clean | **71.2** |\n"


def test_elsewhere_than_on_a_terminal_markdown_stays(capsys):
    show(MARKDOWN)
    assert capsys.readouterr().out == MARKDOWN + "\n"


def test_a_table_is_drawn_with_its_alignment_and_without_marks():
    console = Console(width=40, record=True, file=io.StringIO())
    console.print(drawn(MARKDOWN.splitlines()[2:]))
    lines = [line.strip() for line in console.export_text().splitlines() if line.strip()]
    assert lines[0].split() == ["a", "mAP"]
    assert lines[-1].split() == ["clean", "71.2"]
    assert not any("|" in line or "*" in line for line in lines)
