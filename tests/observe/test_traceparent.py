"""The traceparent header of W3C Trace Context: what is malformed starts a new trace."""

from __future__ import annotations

import pytest

from wellspring.observe.traceparent import format_traceparent, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_formatted_header_is_parsed_again():
    header = format_traceparent(TRACE)
    assert parse_traceparent(header) == TRACE
    assert format_traceparent(TRACE) != header


@pytest.mark.parametrize(
    "header",
    [
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00 ",
        b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
    ],
)
def test_a_header_of_the_specification_is_read(header: bytes):
    assert parse_traceparent(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        b"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        b"00-\xef\xbc\x94bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_a_malformed_header_starts_a_new_trace(header: bytes):
    assert parse_traceparent(header) is None
