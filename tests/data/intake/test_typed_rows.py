"""A batch with the types of its contract."""

from tests.builders.contracts import column, contract, text
from wellspring.data.formats.csv import read_csv
from wellspring.data.intake.typed_rows import type_batch
from wellspring.records.content import BytesContent

BY = contract(column("id"), column("line", "int64"), column("note"))


def test_columns_are_cast_by_name_and_faulty_rows_are_not_usable():
    (batch,) = read_csv(BytesContent(text("note,id,line", "x, A ,7", "y", "z,B,one")), BY)
    typed = type_batch(batch, BY)
    assert typed.usable.to_list() == [True, False, True]
    table = typed.to_arrow()
    assert table.column_names == ["id", "line", "note", "row_number"]
    assert table["id"].to_pylist()[::2] == ["A", "B"]
    assert table["line"].to_pylist()[::2] == [7, None]
    assert typed.casts["line"].invalid.to_list() == [False, False, True]
    assert type_batch(batch, BY, ["id"]).to_rows().frame.columns == ["id"]
