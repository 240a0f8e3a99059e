"""The codec equals the libraries that Feast uses, byte by byte; test_views_feast.py compares with Feast itself."""

import struct
from contextlib import nullcontext
from datetime import UTC, datetime

import mmh3
import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.feature_views import edition, instant, rows, token, view
from wellspring.errors import CorruptedError, Refused
from wellspring.records.features import FeatureRow
from wellspring.records.instants import to_epoch_micros
from wellspring.stores.online import feast_codec
from wellspring.stores.online.feast_codec import RowCodec, RowVersion
from wellspring.stores.online.port import online_namespace

ROW_KEY = b"\x05" * 32
LAID = RowCodec("acme", view(), ROW_KEY)


@given(st.binary(max_size=70))
def test_field_names_are_hashed_with_murmur3(name: bytes):
    assert feast_codec.murmur3_hash(name) == mmh3.hash(name, signed=False)


@given(st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2200, 1, 1)))
def test_an_instant_is_encoded_as_protobuf_timestamp(moment: datetime):
    result = Timestamp()
    result.FromDatetime(moment)
    count = to_epoch_micros(moment.replace(tzinfo=UTC))
    assert feast_codec.encode_timestamp(count) == result.SerializeToString()


def test_a_key_is_feasts_entity_key_of_version_3_and_the_project():
    member = token(1).encode()
    words = b"\1\0\0\0" + b"\2\0\0\0" + b"\x09\0\0\0member_id" + b"\2\0\0\0" + struct.pack("<I", len(member)) + member
    assert LAID.encode_key((token(1),)) == words + b"acme"


def test_another_tenant_has_another_key_for_the_same_token():
    token = ("member_k1_" + "a" * 26,)
    keys = [RowCodec(online_namespace("acme", tenant), view()).encode_key(token) for tenant in ("", "north", "south")]
    assert len(set(keys)) == 3
    # The project's own tenant has the keys that Feast writes.
    assert keys[0] == LAID.encode_key(token)


def test_key_columns_are_sorted_by_name_and_passed_in_view_order():
    first = RowCodec("acme", view(keys=("member_id", "claim_id")))
    second = RowCodec("acme", view(keys=("claim_id", "member_id")))
    assert first.encode_key((token(1), token(2, "claim"))) == second.encode_key((token(2, "claim"), token(1)))


@pytest.mark.parametrize("key", [("123-45-6789",), (token(1).upper(),), (token(1) + "\n",), ("",), (), (token(1),) * 2])
def test_a_key_that_is_not_a_token_is_refused_and_never_repeated(key: tuple[str, ...]):
    with pytest.raises(Refused) as refused:
        LAID.encode_key(key)
    assert not any(part and part in refused.value.what + refused.value.fix for part in key)


VALUES = {
    "denials": st.none() | st.integers(-(2**63), 2**63 - 1),
    "rate": st.none() | st.floats(allow_nan=False),
    "covered": st.none() | st.booleans(),
    "plan": st.none() | st.text(max_size=300),
}


def encoded(*arguments: dict[str, object], codec: RowCodec = LAID) -> list[list[bytes]]:
    table = rows(view(), arguments)
    keys = [codec.encode_key((str(key),)) for key in table["member_id"].to_pylist()]
    columns = codec.encode_rows(table, keys, published=instant(9), edition="0123456789ab")
    return [list(encode_row) for encode_row in zip(*columns, strict=True)]


@given(st.fixed_dictionaries(VALUES), st.integers(-(2**63), 2**63 - 1))
def test_a_row_round_trips(values: dict[str, int | float | bool | str | None], sequence: int):
    (reply,) = encoded({**values, "member_id": token(1), "known_since": instant(1.5), "sequence": sequence})
    assert LAID.decode_row((token(1),), reply) == FeatureRow(
        "member_history", (token(1),), values, instant(1.5), sequence, "0123456789ab"
    )


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), float("inf"), 5e-324])
def test_a_float_keeps_its_bits(value: float):
    (reply,) = encoded({"member_id": token(1), "rate": value})
    row = LAID.decode_row((token(1),), reply)
    assert row is not None
    assert struct.pack("<d", row.values["rate"]) == struct.pack("<d", value)


def test_a_hash_without_version_field_gives_no_row():
    assert LAID.decode_row((token(1),), [None] * len(LAID.fields)) is None


def test_a_row_of_another_definition_is_corrupted():
    (reply,) = encoded({"member_id": token(1), "denials": 3})
    fewer = RowCodec("acme", view("member_history", {"denials": "int64"}), ROW_KEY)
    with pytest.raises(CorruptedError, match="not one that a materialization wrote"):
        fewer.decode_row((token(1),), [reply[0], *reply[-2:]])


def test_a_row_is_bound_to_its_key_namespace_and_secret():
    (reply,) = encoded({"member_id": token(1), "denials": 3})
    foreign_codecs = [
        (LAID, token(2)),
        (RowCodec("acme:north", view(), ROW_KEY), token(1)),
        (RowCodec("acme", view(), b"\x06" * 32), token(1)),
    ]
    for codec, key in foreign_codecs:
        with pytest.raises(CorruptedError, match="not one that a materialization wrote for its key"):
            codec.decode_row((key,), reply)
    with pytest.raises(ValueError, match="row key"):
        RowCodec("acme", view()).decode_row((token(1),), reply)


def test_every_field_of_a_row_is_bound():
    (reply,) = encoded({"member_id": token(1), "denials": 1, "rate": 0.5, "covered": True, "plan": "gold"})
    for place, raw in enumerate(reply):
        for changed in (raw[:-1] + bytes([raw[-1] ^ 1]), None):
            with pytest.raises(CorruptedError) if place < len(reply) - 1 or changed else nullcontext():
                LAID.decode_row((token(1),), [*reply[:place], changed, *reply[place + 1 :]])


def test_a_row_changed_by_another_program_is_corrupted():
    (reply,) = encoded({"member_id": token(1)})
    reply[-2] = feast_codec.encode_timestamp(to_epoch_micros(instant(5)))
    with pytest.raises(CorruptedError, match="not one that a materialization wrote"):
        LAID.decode_row((token(1),), reply)


@pytest.mark.parametrize(
    ("place", "raw"),
    [
        (0, b"\x29" + bytes(8)),
        (0, b"\x20\xff"),
        (1, b"\x20\x01"),
        (1, b"\x29\0"),
        (2, b"\x20\x01"),
        (3, b"\x38\x01"),
        (3, b"\x12\x05abc"),
        (3, b"\x12\x01\xff"),
        (-1, b"short"),
    ],
)
def test_bytes_of_another_type_are_corrupted(place: int, raw: bytes):
    (reply,) = encoded({"member_id": token(1), "denials": 1, "rate": 0.5, "covered": True, "plan": "gold"})
    reply[place] = raw
    with pytest.raises(CorruptedError):
        LAID.decode_row((token(1),), reply)


def test_row_versions_sort_by_knowledge_then_by_edition():
    marks = [
        RowVersion(expected, sequence, published, "0" * 12)
        for expected in (-1, 0)
        for sequence in (-5, 7)
        for published in (1, 2)
    ]
    assert marks == sorted(marks)
    assert [RowVersion.decode(mark.encode()) for mark in marks] == marks


def test_every_row_holds_its_edition():
    table = rows(view(), [{"member_id": token(1)}])
    key = LAID.encode_key((token(1),))
    *_, marks = LAID.encode_rows(table, [key], published=edition().known_since, edition=edition().id)
    assert RowVersion.decode(marks[0]).edition == "0123456789ab"
    assert isinstance(table["known_since"].type, pa.TimestampType)
