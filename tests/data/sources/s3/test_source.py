"""Objects of a bucket: names, versions, sizes, encryption and pages, on moto's S3 API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.recording_step import FixedClock
from tests.builders.s3_server import PREFIX, Fault, S3Server, running_s3
from wellspring.data.sources.port import FileSource
from wellspring.data.sources.s3.source import compile_glob
from wellspring.errors import NotFound, Refused, Unavailable

OLD = datetime(2023, 11, 14, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with running_s3(Path("/")) as s3:
        yield s3


@pytest.fixture
def s3(running: S3Server) -> S3Server:
    """The server with an empty bucket."""
    running.fault, running.on_read, running.headers, running.reads = None, None, (), 0
    running.client.put_bucket_versioning(Bucket=running.bucket, VersioningConfiguration={"Status": "Suspended"})
    running.objects.clear()
    running.requests.clear()
    return running


def read_file(source: FileSource, name: str) -> bytes:
    with source.open(name) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def names(source: FileSource) -> list[str]:
    return [file.name for file in source.list()]


def test_only_objects_directly_below_the_prefix_are_listed(s3: S3Server):
    for name in ("a.csv", "2026/11/b.csv", "folder/"):
        s3.put(name, b"x")
    s3.client.put_object(Bucket=s3.bucket, Key="elsewhere/c.csv", Body=b"x")
    s3.client.put_object(Bucket=s3.bucket, Key=PREFIX, Body=b"")
    source = s3.source()
    assert names(source) == ["a.csv"]
    assert any("delimiter=" in path for _, path in s3.requests), "S3 leaves out what cannot match"
    for name in ("2026/11/b.csv", "folder/", "../elsewhere/c.csv", "/elsewhere/c.csv"):
        with pytest.raises(NotFound):
            source.stat(name)


def test_a_glob_can_match_below_the_prefix(s3: S3Server):
    for name in ("a.csv", "2026/11/b.csv", "2026/11/c.txt", "2026/.d.csv", "2026/e.csv.part"):
        s3.put(name, b"x", modified=OLD)
    source = s3.source(glob="**/*.csv")
    assert names(source) == ["2026/11/b.csv", "a.csv"]
    assert read_file(source, "2026/11/b.csv") == b"x"
    with pytest.raises(NotFound):
        source.stat("2026/11/c.txt")


def test_without_a_prefix_the_whole_bucket_is_the_source(s3: S3Server):
    s3.client.put_object(Bucket=s3.bucket, Key="top.csv", Body=b"x")
    assert names(s3.source(prefix="")) == ["top.csv"]


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("*", "a.csv", True),
        ("*", "x/a.csv", False),
        ("*.csv", "a.csv", True),
        ("*.csv", "a.csvx", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "x/y/a.csv", True),
        ("**", "x/y/a.csv", True),
        ("x/**", "x/y/a.csv", True),
        ("claim_????.csv", "claim_0001.csv", True),
        ("claim_?.csv", "claim_/.csv", False),
        ("a[12].csv", "a1.csv", True),
        ("a[!12].csv", "a1.csv", False),
        ("a[!1].csv", "a/.csv", False),
        ("a[[]1].csv", "a[1].csv", True),
        ("a.b", "axb", False),
        ("*", "a\nb", True),
    ],
)
def test_a_glob_matches_as_documented(glob: str, name: str, matches: bool):
    assert bool(compile_glob(glob).fullmatch(name)) is matches


@pytest.mark.parametrize("name", ["x/../b.csv", "a\nb.csv", "./a.csv", "a//b.csv", "..", "x\\..\\a.csv", "\x1b[2J.csv"])
def test_a_key_with_an_unsafe_name_is_listed_so_that_the_enclave_can_report_it(s3: S3Server, name: str):
    s3.put_inside(name, b"x")
    assert names(s3.source(glob="**")) == [name]
    assert s3.reads == 0


def test_all_pages_of_a_listing_are_read(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    for number in range(10):
        s3.put(f"{number}.csv", b"x", modified=OLD + timedelta(seconds=number))
    s3.requests.clear()
    assert names(s3.source()) == [f"{number}.csv" for number in range(10)]
    assert len(s3.requests) == 4


def test_an_object_of_several_parts_is_read_whole(s3: S3Server):
    parts = [os.urandom(5 << 20), os.urandom(5 << 20), b"tail"]
    where = {"Bucket": s3.bucket, "Key": f"{PREFIX}a.csv"}
    upload = s3.client.create_multipart_upload(**where)["UploadId"]
    done = [
        {
            "PartNumber": number,
            "ETag": s3.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=part)["ETag"],
        }
        for number, part in enumerate(parts, start=1)
    ]
    s3.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": done})
    source = s3.source()
    assert read_file(source, "a.csv") == b"".join(parts)
    assert source.stat("a.csv").identity.endswith("-3")


def test_an_object_encrypted_with_a_kms_key_is_read_with_a_request_that_s3_accepts(s3: S3Server):
    s3.put("a.csv", b"x" * 1000, ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/vendor")
    methods: list[str] = []
    s3.fault = lambda method, _path: methods.append(method)
    assert read_file(s3.source(), "a.csv") == b"x" * 1000
    assert methods == ["HEAD", "GET", "HEAD"]


def test_the_listed_version_is_read_in_a_bucket_with_versions(s3: S3Server):
    s3.client.put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put("a.csv", b"first")
    s3.put("a.csv", b"again")
    source = s3.source()
    s3.requests.clear()
    assert read_file(source, "a.csv") == b"again"
    (read,) = [path for method, path in s3.requests if method == "GET"]
    assert "versionId=" in read
    s3.remove("a.csv")
    assert names(source) == []
    with pytest.raises(NotFound):
        read_file(source, "a.csv")


def test_an_object_replaced_between_its_check_and_its_read_is_refused(s3: S3Server):
    s3.put("a.csv", b"first")

    def replace(method: str, path: str) -> Fault | None:
        if method == "GET" and path.endswith("a.csv"):
            s3.fault = None
            s3.put("a.csv", b"other")
        return None

    s3.fault = replace
    with pytest.raises(Refused, match="still being written"):
        read_file(s3.source(), "a.csv")
    assert s3.reads == 0, "S3 compares the ETag and sends nothing"


def test_an_object_deleted_between_its_check_and_its_read_is_not_found(s3: S3Server):
    s3.put("a.csv", b"first")

    def delete(method: str, path: str) -> Fault | None:
        if method == "GET" and path.endswith("a.csv"):
            s3.fault = None
            s3.remove("a.csv")
        return None

    s3.fault = delete
    with pytest.raises(NotFound):
        read_file(s3.source(), "a.csv")


def test_an_object_replaced_by_the_same_bytes_during_the_read_is_the_same(s3: S3Server):
    s3.put("a.csv", b"x" * (1 << 20))
    source = s3.source()
    before = source.stat("a.csv").identity
    s3.put("a.csv", b"x" * (1 << 20))
    assert source.stat("a.csv").identity == before
    s3.put("a.csv", b"y" * (1 << 20))
    assert source.stat("a.csv").identity != before


def test_an_object_of_five_gibibytes_is_refused_before_it_is_read(s3: S3Server):
    s3.put("a.csv", b"x")
    s3.objects[f"{PREFIX}a.csv"].contentsize = (5 << 30) + 1
    source = s3.source(max_bytes=2 << 30)
    assert [file.size for file in source.list()] == [(5 << 30) + 1]
    s3.fault = lambda method, path: (
        Fault("200 OK", headers=(("Content-Length", str((5 << 30) + 1)), ("ETag", '"e"'), ("Last-Modified", s3.date)))
        if method == "HEAD"
        else None
    )
    with pytest.raises(Refused, match="5,368,709,121 bytes, more than the limit of 2,147,483,648") as refused:
        read_file(source, "a.csv")
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["too_large"]
    assert s3.reads == 0


def test_an_object_that_just_appeared_waits_by_the_clock_of_the_server(s3: S3Server):
    clock = FixedClock()
    s3.put("a.csv", b"x", modified=clock.now())
    source = s3.source(settle_seconds=5, clock=clock)
    assert [file.still_writing for file in source.list()] == [True]
    clock.pass_(seconds=5)
    assert [file.still_writing for file in source.list()] == [False]


def test_a_connection_that_breaks_during_the_read_is_unavailable(s3: S3Server):
    def fail(_name: str, offset: int) -> None:
        if offset > 1 << 20:
            raise ConnectionError

    s3.put("a.csv", os.urandom(3 << 20))
    s3.on_read = fail
    with pytest.raises(Unavailable, match="does not answer"):
        read_file(s3.source(), "a.csv")


def test_a_server_that_is_gone_is_unavailable(s3: S3Server):
    with pytest.raises(Unavailable, match="does not answer"):
        s3.source(endpoint_url="http://127.0.0.1:1").list()


def test_a_key_with_content_that_ends_like_a_folder_is_listed(s3: S3Server):
    s3.put("folder/", b"")
    s3.put("filled/", b"x")
    assert names(s3.source(glob="**")) == ["filled/"]
