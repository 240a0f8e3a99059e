"""Convert the errors of an S3 API to those of wellspring, by what the caller can do about them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from wellspring.data.sources.s3.settings import S3Settings
from wellspring.errors import NotFound, Refused, Unavailable, WellspringError

REGION_HEADER = "x-amz-bucket-region"

_WRONG_REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"}
_UNAVAILABLE = {"ServiceUnavailable", "RequestTimeout", "502", "503", "504"}
_SERVER_FAULTS = {"InternalError", "500"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_WRONG_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
_MISSING = {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed", "405"}
_CHANGED = {"PreconditionFailed", "412"}


class ObjectMissing(Exception):
    """An object or a version does not exist."""


class ObjectChanged(Exception):
    """An object is no longer the one that was listed."""


class ObjectUnreadable(Exception):
    """The source does not give one object; others may be readable. what, fix: of the error for a user.

    is_temporary: the server may give it later.
    """

    def __init__(self, what: str, fix: str, *, is_temporary: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.is_temporary = is_temporary


def check_region(source: str, settings: S3Settings, headers: Mapping[str, str]) -> None:
    """Raise Refused if a response comes from a bucket in another region than the settings name."""
    region = headers.get(REGION_HEADER, settings.region)
    if region != settings.region:
        raise _wrong_region(source, settings, region)


def missing_bucket(source: str, settings: S3Settings) -> NotFound:
    """Return the error for a bucket that does not exist."""
    return NotFound(
        f"source {source!r}: the bucket {settings.bucket!r} does not exist", fix="check `bucket` in wellspring.toml"
    )


@contextmanager
def map_errors(source: str, settings: S3Settings) -> Generator[None]:
    """Convert the errors of requests.

    Raises ObjectMissing, ObjectChanged and ObjectUnreadable, which only the caller can complete: it knows the object.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        raise _convert_response(source, settings, exc.response) from None
    except BotoCoreError as exc:
        raise _convert_failure(source, settings, exc) from None


def _convert_response(source: str, settings: S3Settings, response: Mapping[str, Any]) -> Exception:
    error: Mapping[str, Any] = response.get("Error", {})
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    region = str(headers.get(REGION_HEADER, error.get("Region", "")))
    if code in _WRONG_REGION or (region not in {"", settings.region} and status in {301, 400}):
        return _wrong_region(source, settings, region)
    if code in _MISSING:
        return ObjectMissing()
    if code in _CHANGED:
        return ObjectChanged()
    if code in _THROTTLED or code in _UNAVAILABLE:
        reason = "asks to slow down" if code in _THROTTLED else "does not answer"
        return Unavailable(f"the S3 API of source {source!r} {reason} ({code})", fix="try again later")
    if code in _SERVER_FAULTS:
        # A server can fail on one object for ever, and give all others.
        what = f"the S3 API of source {source!r} fails ({code})"
        return ObjectUnreadable(what, "try again later, then ask the vendor", is_temporary=True)
    return _convert_refusal(source, settings, code)


def _convert_refusal(source: str, settings: S3Settings, code: str) -> Exception:
    login = f"store new ones with `wellspring source login {source}`"
    if settings.credentials == "instance_role":
        login = "check the role of this machine"
    if code == "NoSuchBucket":
        return missing_bucket(source, settings)
    if code in _EXPIRED:
        return Refused(f"the credentials of source {source!r} have expired", fix=login)
    if code in _WRONG_CREDENTIALS:
        return Refused(f"source {source!r} rejected the credentials ({code})", fix=login)
    if code == "RequestTimeTooSkewed":
        return Refused(f"source {source!r} rejected the request: this clock is wrong", fix="synchronize the clock")
    if code == "InvalidObjectState":
        return ObjectUnreadable(f"an object of source {source!r} is archived", "ask the vendor to restore it")
    if code.startswith("KMS."):
        return ObjectUnreadable(
            f"the key of an object of source {source!r} cannot be used ({code})",
            "ask the vendor to enable the key and to allow kms:Decrypt",
        )
    if code in _DENIED:
        return ObjectUnreadable(
            f"source {source!r} does not allow these credentials to read {settings.place}",
            f"allow s3:ListBucket on {settings.bucket}, s3:GetObject on {settings.key_prefix}*, and kms:Decrypt on "
            f"the key of encrypted objects; or {login}",
        )
    if code in {"400", "BadRequest"}:
        # A response to HEAD has no body, so the code is all that S3 says.
        return ObjectUnreadable(
            f"source {source!r} rejected the request; its credentials may have expired, or the key of the object "
            "cannot be used",
            login,
        )
    return ObjectUnreadable(f"source {source!r} refused a request ({code})", "look the code up in the vendor's S3 API")


def _convert_failure(source: str, settings: S3Settings, exc: Exception) -> WellspringError:
    """Convert an error without a response of S3."""
    name = type(exc).__name__
    if name in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError"}:
        return Refused(
            f"source {source!r} has no credentials: this machine has no role",
            fix='give the machine a role, or set credentials = "stored" in wellspring.toml',
        )
    if name == "SSLError":
        return Refused(
            f"the certificate of {settings.endpoint_url or 'S3'} is not trusted",
            fix="set ca_bundle of the source to the authority of the endpoint",
        )
    return Unavailable(f"source {source!r} does not answer ({name})", fix="try again later")


def _wrong_region(source: str, settings: S3Settings, region: str) -> Refused:
    place = f"is in the region {region}" if region else "is in another region"
    return Refused(
        f"the bucket {settings.bucket!r} of source {source!r} {place}, not in {settings.region}",
        fix=f'set region = "{region or "..."}" in [sources.{source}] of wellspring.toml',
    )
