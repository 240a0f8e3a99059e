"""A bucket behind the S3 API, for the suite of sources."""

from tests.builders.s3_server import running_s3

BUILDER = running_s3
