"""The examples table shows every method's description, or why there is none."""

from dissectbench.harness.records import Description, Status, UnitId
from dissectbench.results.tables.examples import examples_table


def of(unit: int, method: str, text: str | None, status: Status = "ok", layer: str = "fc") -> Description:
    return Description(UnitId("net", layer, unit), method, text, status)


def test_units_are_listed_in_order_with_their_references_and_every_method():
    records = [
        of(1, "words", "a car"),
        of(0, "words", "a boat"),
        of(0, "pictures", None, "dead"),
        of(7, "words", None, "failed"),
        of(7, "pictures", None, "below_threshold"),
        of(3, "words", "elsewhere", layer="layer4"),
    ]
    table = examples_table(records, [("boat",), ("car", "automobile")], "fc")
    assert [column.name for column in table.columns] == ["unit", "reference", "words", "pictures"]
    assert [row.cells for row in table.rows] == [
        (0, "boat", "a boat", "(dead)"),
        (1, "car | automobile", "a car", "(no record)"),
        (7, "", "(failed)", "(below threshold)"),
    ]


def test_no_more_units_than_asked_for_are_shown():
    table = examples_table([of(unit, "words", "x") for unit in range(12)], [], "fc", limit=10)
    assert len(table.rows) == 10
    assert table.title.endswith("the first 10 of 12 units")
