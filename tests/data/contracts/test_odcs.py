"""Strict reading of ODCS: unknown and duplicate keys and wrong types, each once, sorted by line."""

from pathlib import Path

from wellspring.data.contracts.odcs import ContractDocument, read_document

PATH = Path("contracts/x.odcs.yaml")


def result(text: str) -> list[str]:
    return read_document(PATH, text.encode()).errors


def test_unknown_key_is_reported_with_line_and_nearest_key():
    assert result("kind: DataContract\nscema: []\n") == [f"{PATH}:2: scema: unknown key; did you mean 'schema'?"]
    nested = "schema:\n  - name: x\n    properties:\n      - name: a\n        clasification: y\n"
    assert result(nested) == [
        f"{PATH}:5: schema[0].properties[0].clasification: unknown key; did you mean 'classification'?"
    ]


def test_unenforced_odcs_key_is_reported():
    assert "does not enforce this ODCS key" in result("schema:\n  - relationships: []\n")[0]
    assert "does not enforce this ODCS key" in result("schema:\n  - properties:\n      - encryptedName: x\n")[0]


def test_duplicate_key_is_reported():
    assert "line 3 repeats this key" in result("kind: a\nid: b\nkind: c\n")[0]
    assert "line 2 repeats this key" in result("schema:\n  - {name: a, name: b}\n")[0]


def test_value_of_another_type_is_reported_and_the_rest_is_read():
    page = read_document(
        PATH, b"version: 1.5\nname: x\nschema:\n  - name: t\n    properties:\n      - required: perhaps\n"
    )
    assert [error.partition(" ")[0] for error in page.errors] == [f"{PATH}:1:", f"{PATH}:6:"]
    assert page.model is not None
    assert page.model.name == "x"
    assert len(page.model.schema_ or []) == 1


def test_a_team_may_be_a_list_or_a_team():
    assert result("team:\n  - {username: a@example.com, role: owner}\n") == []
    assert result("team:\n  members:\n    - {username: a@example.com, role: owner}\n") == []
    assert "unknown key" in result("team:\n  members:\n    - {user: a}\n")[0]
    assert "unknown key" in result("team:\n  - {user: a}\n")[0]


def test_invalid_yaml_is_reported_with_line():
    assert result("a: b\nc: [\n")[0].startswith(f"{PATH}:3: the file is not YAML")
    assert "not a mapping" in result("- a\n")[0]
    assert "not a mapping" in result("")[0]


def test_yaml_cannot_make_objects():
    assert "not YAML" in result("kind: !!python/object/apply:os.getcwd []\n")[0]


def test_error_is_reported_once_per_path_at_the_nearest_line():
    page = ContractDocument(PATH, lines={("team",): 4})
    page.add_error(("team", 0, "role"), "one")
    page.add_error(("team", 0, "role"), "two")
    page.add_error(("status",), "three")
    assert page.errors == [f"{PATH}:1: status: three", f"{PATH}:4: team[0].role: one"]
