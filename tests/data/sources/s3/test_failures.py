"""What an S3 API refuses: each refusal is an error by what the caller can do, without a secret in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.s3_server import Fault, S3Server, running_s3
from wellspring.errors import NotFound, Refused, Unavailable, WellspringError


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with running_s3(Path("/")) as s3:
        s3.put("a.csv", b"x")
        yield s3


@pytest.fixture
def s3(running: S3Server) -> S3Server:
    running.fault, running.headers = None, ()
    running.requests.clear()
    return running


def list_with(s3: S3Server, status: str, code: str, *headers: tuple[str, str]) -> WellspringError:
    """List the bucket while each response is this fault; return the error."""
    s3.fault = lambda _method, _path: Fault(status, code, headers)
    with pytest.raises(WellspringError) as error:
        s3.source().list()
    return error.value


@pytest.mark.parametrize(
    ("status", "code", "kind", "message", "fix"),
    [
        ("403 Forbidden", "InvalidAccessKeyId", Refused, "rejected the credentials", "wellspring source login"),
        ("403 Forbidden", "SignatureDoesNotMatch", Refused, "rejected the credentials", "wellspring source login"),
        ("400 Bad Request", "ExpiredToken", Refused, "have expired", "wellspring source login clearinghouse"),
        ("403 Forbidden", "AccessDenied", Refused, "does not allow these credentials", "kms:Decrypt"),
        ("403 Forbidden", "RequestTimeTooSkewed", Refused, "this clock is wrong", "synchronize"),
        ("400 Bad Request", "KMS.DisabledException", Refused, "cannot be used", "kms:Decrypt"),
        ("403 Forbidden", "InvalidObjectState", Refused, "is archived", "restore"),
        ("404 Not Found", "NoSuchBucket", NotFound, "does not exist", "check `bucket`"),
        ("400 Bad Request", "InvalidRequest", Refused, "refused a request \\(InvalidRequest\\)", "look the code up"),
    ],
)
def test_a_refusal_names_its_cause_and_its_repair(
    s3: S3Server, status: str, code: str, kind: type[WellspringError], message: str, fix: str
):
    error = list_with(s3, status, code)
    assert isinstance(error, kind)
    with pytest.raises(kind, match=message):
        raise error
    assert fix in error.fix
    assert "test" not in error.what.replace("request", ""), "no key in the message"


def test_a_server_that_asks_to_slow_down_is_unavailable_after_three_tries(s3: S3Server):
    error = list_with(s3, "503 Slow Down", "SlowDown")
    assert isinstance(error, Unavailable)
    assert "asks to slow down" in error.what
    assert error.fix == "try again later"
    assert len(s3.requests) == 3


def test_a_server_that_fails_on_the_listing_is_unavailable(s3: S3Server):
    error = list_with(s3, "500 Internal Server Error", "InternalError")
    assert isinstance(error, Unavailable)
    assert "fails (InternalError)" in error.what


def test_a_failed_request_is_repeated(s3: S3Server):
    s3.fault = lambda _method, _path: Fault("503 Slow Down", "SlowDown") if len(s3.requests) == 1 else None
    assert [file.name for file in s3.source().list()] == ["a.csv"]


@pytest.mark.parametrize(
    ("status", "code"), [("301 Moved Permanently", "PermanentRedirect"), ("400 Bad", "AuthorizationHeaderMalformed")]
)
def test_a_bucket_in_another_region_names_the_region(s3: S3Server, status: str, code: str):
    error = list_with(s3, status, code, ("x-amz-bucket-region", "eu-west-1"))
    assert isinstance(error, Refused)
    assert "is in the region eu-west-1, not in us-east-1" in error.what
    assert error.fix == 'set region = "eu-west-1" in [sources.clearinghouse] of wellspring.toml'


def test_a_request_that_was_redirected_to_another_region_is_refused(s3: S3Server):
    s3.headers = (("x-amz-bucket-region", "eu-west-1"),)
    with pytest.raises(Refused, match="is in the region eu-west-1"):
        s3.source().list()
    with pytest.raises(Refused, match="is in the region eu-west-1"):
        s3.source().stat("a.csv")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        ("403 Forbidden", Refused, "does not allow these credentials"),
        ("400 Bad Request", Refused, "its credentials may have expired"),
        ("404 Not Found", NotFound, "has no file 'a.csv'"),
    ],
)
def test_a_head_request_without_a_body_is_understood(
    s3: S3Server, status: str, kind: type[WellspringError], message: str
):
    s3.fault = lambda _method, _path: Fault(status)
    with pytest.raises(kind, match=message):
        s3.source().stat("a.csv")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("403 Forbidden", "InvalidObjectState"),
        ("400 Bad", "KMS.DisabledException"),
        ("403 Forbidden", "AccessDenied"),
        ("500 Internal Server Error", "InternalError"),
        ("418 Teapot", "SomethingNew"),
    ],
)
def test_one_object_that_cannot_be_read_is_inconclusive_so_that_the_others_continue(
    s3: S3Server, status: str, code: str
):
    s3.fault = lambda method, path: Fault(status, code) if method == "GET" and path.endswith("a.csv") else None
    with pytest.raises(Refused) as refused, s3.source().open("a.csv") as stream:
        stream.read(10)
    assert refused.value.verdict is not None
    assert refused.value.verdict.outcome == "inconclusive"
    assert [reason.code for reason in refused.value.verdict.reasons] == ["unreadable_file"]


def test_a_bucket_that_does_not_exist_is_not_found(s3: S3Server):
    with pytest.raises(NotFound, match="the bucket 'no-such-bucket' does not exist"):
        s3.source(bucket="no-such-bucket").list()
