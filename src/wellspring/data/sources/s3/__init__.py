"""Objects in a bucket behind the S3 API: AWS, or any server that speaks it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wellspring.data.sources.port import FileSource, SecretKey, SourceContext, SourceKind, SourceProblem
from wellspring.data.sources.s3.settings import S3Settings
from wellspring.errors import describe_install
from wellspring.settings import SourceSettings

_TEMPLATE = """\
kind = "s3"
bucket = "BUCKET"         # the vendor's bucket
region = "us-east-1"      # another S3 API than AWS: endpoint_url = "https://host"
prefix = "outbox"
glob = "*"                # of the key after the prefix; "**/*.csv" also matches below it
settle_seconds = 0        # 0 for S3: an object appears whole
"""


def open_s3(context: SourceContext) -> FileSource:
    """Open the source; it connects at its first operation."""
    from wellspring.data.sources.s3.source import S3Source

    return S3Source(context)


def find_s3_problems(settings: SourceSettings, root: Path) -> Iterable[SourceProblem]:
    """Check that the certificate authority of the endpoint exists."""
    assert isinstance(settings, S3Settings)
    for path in settings.readable_paths(root):
        if not path.is_file():
            yield SourceProblem(
                f"the certificate authority {path} does not exist", "write it there in PEM, or remove ca_bundle"
            )


S3 = SourceKind(
    settings=S3Settings,
    open=open_s3,
    packages=("boto3",),
    install=describe_install("s3"),
    secret_keys=(
        SecretKey("access_key_id"),
        SecretKey("secret_access_key"),
        SecretKey("session_token", required=False),
    ),
    template=_TEMPLATE,
    find_problems=find_s3_problems,
)
"""What `kind = "s3"` names."""
