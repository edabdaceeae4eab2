"""Tables as text: every format against an expected text, and characters that must be escaped."""

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dissectbench.harness.errors import InputError
from dissectbench.results.statistics import Summary
from dissectbench.results.tables.latex import escape, to_latex
from dissectbench.results.tables.render import print_table, to_csv, to_markdown, write_tables
from dissectbench.results.tables.table import Column, Coverage, Row, Table
from dissectbench.results.tables.value_format import duration, money, number

TABLE = Table(
    name="scores_encoder.layers/1",
    title="Scores of net_1",
    columns=(
        Column("method"),
        Column("scored", "coverage"),
        Column("distinct", "count"),
        Column("clip_cos", "estimate"),
        Column("exact", "estimate", percent=True),
        Column("p", "number"),
    ),
    rows=(
        Row(
            (
                "a|b_c",
                Coverage(2, 4, dead=1, missing=1),
                0,
                Summary(-0.00001, 0.25, -0.123456, 0.5, 2, 2),
                Summary(0.5, 0.125, 0.25, 0.75, 2, 0),
                0.0,
            ),
            best=frozenset({3}),
        ),
        Row(
            (
                "-",
                Coverage(1, 1),
                12,
                Summary(0.1, None, None, None, 1, 0, "one score has no spread"),
                Summary(None, None, None, None, 0, 1, "no unit has a score"),
                None,
            )
        ),
        Row(("constant: 5 %", Coverage(1, 1), 1, *[Summary(0.0, 0.0, 0.0, 0.0, 3, 0)] * 2, 1.0), True),
    ),
    notes=("mean ± s.e. [95 % interval]",),
    footer={"target": "net_1 & co", "seed": "0"},
)


def test_markdown():
    assert (
        to_markdown(TABLE)
        == r"""### Scores of net\_1

| method | scored | distinct | clip\_cos | exact (%) | p |
| :--- | ---: | ---: | ---: | ---: | ---: |
| a\|b\_c | 2/4 (1 dead, 1 missing) | 0 | **0.0000 ± 0.2500 [-0.1235, 0.5000]** | 50.00 ± 12.50 [25.00, 75.00] | 0.0000 |
| - | 1/1 | 12 | 0.1000 ± n/a | n/a | n/a |
| *controls* |  |  |  |  |  |
| constant: 5 % | 1/1 | 1 | 0.0000 ± 0.0000 [0.0000, 0.0000] | 0.00 ± 0.00 [0.00, 0.00] | 1.0000 |

- mean ± s.e. \[95 % interval\]
- target: net\_1 & co
- seed: 0
"""  # noqa: E501
    )


def test_latex():
    assert (
        to_latex(TABLE)
        == r"""% needs \usepackage{booktabs}
\begin{table}
\centering
\caption{Scores of net\_1}
\label{tab:scores-encoder.layers-1}
\begin{tabular}{lrrrrr}
\toprule
method & scored & distinct & clip\_cos & exact (\%) & p \\
\midrule
a\textbar{}b\_c & 2/4 (1 dead, 1 missing) & 0 & \textbf{0.0000 $\pm$ 0.2500 {[}$-$0.1235, 0.5000]} & 50.00 $\pm$ 12.50 {[}25.00, 75.00] & 0.0000 \\
- & 1/1 & 12 & 0.1000 $\pm$ n/a & n/a & n/a \\
\midrule
constant: 5 \% & 1/1 & 1 & 0.0000 $\pm$ 0.0000 {[}0.0000, 0.0000] & 0.00 $\pm$ 0.00 {[}0.00, 0.00] & 1.0000 \\
\bottomrule
\end{tabular}

\smallskip
\footnotesize
mean $\pm$ s.e. {[}95 \% interval] \\
target: net\_1 \& co \\
seed: 0
\end{table}
"""  # noqa: E501
    )


def test_csv_has_every_number_in_full():
    header, first, second, control = csv.reader(io.StringIO(to_csv(TABLE)))
    assert header == [
        *("method", "scored", "units", "below_threshold", "dead", "failed", "missing", "other"),
        "distinct",
        *(f"clip_cos_{f}" for f in ("mean", "standard_error", "low", "high", "n", "n_missing", "reason")),
        *(f"exact_{f}" for f in ("mean", "standard_error", "low", "high", "n", "n_missing", "reason")),
        "p",
    ]
    assert first[:9] == ["a|b_c", "2", "4", "0", "1", "0", "1", "0", "0"]
    assert first[9:16] == ["-1e-05", "0.25", "-0.123456", "0.5", "2", "2", ""]
    assert first[16:] == ["0.5", "0.125", "0.25", "0.75", "2", "0", "", "0.0"]
    assert second[9:] == [
        *("0.1", "", "", "", "1", "0", "one score has no spread"),
        *("", "", "", "", "0", "1", "no unit has a score", ""),
    ]
    assert control[0] == "constant: 5 %"


def test_terminal():
    console = Console(width=100, record=True, file=io.StringIO(), color_system=None)
    print_table(TABLE, console)
    text = console.export_text()
    assert [line.rstrip() for line in text.splitlines()] == [
        "Scores of net_1",
        " " + "─" * 92,
        " method                       scored   distinct            clip_cos        exact (%)        p",
        " " + "─" * 92,
        " a|b_c                           2/4          0   * 0.0000 ± 0.2500    50.00 ± 12.50   0.0000",
        "                 (1 dead, 1 missing)              [-0.1235, 0.5000]   [25.00, 75.00]",
        " -                               1/1         12        0.1000 ± n/a              n/a      n/a",
        " " + "─" * 92,
        " constant: 5 %                   1/1          1     0.0000 ± 0.0000      0.00 ± 0.00   1.0000",
        "                                                   [0.0000, 0.0000]     [0.00, 0.00]",
        " " + "─" * 92,
        "mean ± s.e. [95 % interval]",
        "target: net_1 & co",
        "seed: 0",
    ]


def test_an_undefined_value_has_as_many_cells_in_csv_as_its_column():
    columns = (Column("scored", "coverage"), Column("clip", "estimate"), Column("p", "number"))
    table = Table("t", "nothing is defined", columns, (Row((None, None, None)),))
    header, row = csv.reader(io.StringIO(to_csv(table)))
    assert len(row) == len(header)
    assert not any(row)


def test_a_table_without_rows_has_a_header():
    empty = Table("t", "nothing", (Column("method"), Column("p", "number")), ())
    assert to_csv(empty) == "method,p\n"
    assert to_markdown(empty) == "### nothing\n\n| method | p |\n| :--- | ---: |\n"
    assert "\\midrule\n\\bottomrule" in to_latex(empty)


def test_every_table_is_written_in_every_format(tmp_path):
    paths = write_tables([TABLE], tmp_path / "tables")
    assert [path.name for path in paths] == [f"scores_encoder.layers_1.{s}" for s in ("csv", "md", "tex")]
    assert paths[0].read_text(encoding="utf-8") == to_csv(TABLE)
    assert paths[1].read_text(encoding="utf-8") == to_markdown(TABLE)
    assert paths[2].read_text(encoding="utf-8") == to_latex(TABLE)
    assert sorted(tmp_path.rglob("*.*")) == sorted(paths)


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        write_tables([TABLE], tmp_path / "tables")


@pytest.mark.parametrize(
    ("value", "percent", "text"),
    [
        (0, False, "0.0000"),
        (-0.00004, False, "0.0000"),
        (-0.00006, False, "-0.0001"),
        (0.45865, False, "0.4587"),
        (0.12345, True, "12.35"),
        (1.0, True, "100.00"),
        (None, True, "n/a"),
    ],
)
def test_numbers_are_rounded_and_zero_has_no_sign(value, percent, text):
    assert number(value, percent) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.424, "0.42 s"),
        (9.999, "10.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (245.2, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_times_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"), [(0, "$0.00"), (0.00126, "$0.0013"), (0.5, "$0.50"), (12.345, "$12.35")]
)
def test_small_amounts_of_money_have_more_decimals(usd, text):
    assert money(usd) == text


def test_every_format_shows_time_and_money():
    table = Table("t", "costs", (Column("time", "seconds"), Column("cost", "usd")), (Row((245.25, 0.5)),))
    assert to_csv(table) == "time_seconds,cost_usd\n245.25,0.5\n"
    assert "| 4 min 05 s | $0.50 |" in to_markdown(table)
    assert r"4 min 05 s & \$0.50 \\" in to_latex(table)


def test_latex_escapes_each_special_character():
    assert escape("&%$#_{}") == r"\&\%\$\#\_\{\}"
    assert escape("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert escape("<|>[") == r"\textless{}\textbar{}\textgreater{}{[}"
    assert escape("a ± b — c\nd") == r"a $\pm$ b --- c d"
    assert escape("décor 猫 -") == "décor 猫 -"


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab &%$#_{}~^\\|[]<>*`\n\t-±é,\"'"), max_size=12))
def test_no_name_breaks_a_format(name):
    rows = (Row((name, 0)), Row((name, 1), control=True))
    table = Table("t", name, (Column("method"), Column("n", "count")), rows)
    assert [row[0] for row in csv.reader(io.StringIO(to_csv(table), newline=""))][1:] == [name, name]
    cells = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in cells} == {3}
    bare = re.sub(r"\\[&%$#_{}]|\\\\$", "", to_latex(table), flags=re.MULTILINE)
    assert [line.count("&") for line in bare.splitlines() if line.endswith((" 0 ", " 1 "))] == [1, 1]
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[~^#]", bare)
