"""The table of who may read what in docs/servers.md is the one from which the folders are created."""

from tests.architecture import access_table


def test_the_page_has_the_table_of_the_code():
    page = access_table.PAGE.read_text(encoding="utf-8")
    assert access_table.replace_table(page) == page, "run `python -m tests.architecture.access_table`"


def test_no_folder_of_the_table_is_left_out():
    table = access_table.render_table()
    for name in (".wellspring/lake/editions/", ".wellspring/journals/NAME/", ".wellspring/seal.key", "witness/"):
        assert f"| `{name}` |" in table
    assert "| `.wellspring/lake/` | 0710 | worker | nobody | api, code |" in table
