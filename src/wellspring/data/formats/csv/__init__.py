"""CSV: the format with a header line that most vendors send."""

from wellspring.data.formats.csv.dialect import SETTINGS
from wellspring.data.formats.csv.reader import count_csv_rows, read_csv
from wellspring.data.formats.csv.records import QUOTE_FAULT
from wellspring.data.formats.csv.rows import HEADER_FAULT
from wellspring.data.formats.csv.sample import read_csv_sample
from wellspring.data.formats.parsed import FIELDS_FAULT
from wellspring.data.formats.port import FileFormat

CSV = FileFormat(
    read_csv,
    count_csv_rows,
    read_csv_sample,
    suffixes=(".csv",),
    settings=SETTINGS,
    row_faults={
        FIELDS_FAULT: "the row has too few or too many fields",
        HEADER_FAULT: "the row repeats the header; were several files joined?",
        QUOTE_FAULT: "text follows a closing quote; the contract can declare `escape: backslash` or `quote: none`",
    },
)
