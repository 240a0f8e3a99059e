"""Connect to an S3 API with the credentials of one source, and nothing from the account or the environment."""

from __future__ import annotations

import os
from typing import Any

from wellspring.data.sources.port import SourceContext
from wellspring.data.sources.s3.settings import S3Settings
from wellspring.errors import Refused

METADATA_URL = "http://169.254.169.254/"
_ATTEMPTS = 3
_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0
_METADATA_TIMEOUT = 2


def create_client(context: SourceContext, settings: S3Settings, *, metadata_url: str = METADATA_URL) -> Any:
    """Create a client of the S3 API. metadata_url: where the machine's role is found.

    A throttled or failed request is repeated twice, with increasing pauses.
    """
    import boto3.session
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    for variable in ("config_file", "credentials_file"):
        session.set_config_variable(variable, os.devnull)
    if settings.credentials == "instance_role":
        _use_instance_role(session, metadata_url)
    else:
        _use_stored_credentials(session, context)
    config = Config(
        region_name=settings.region,
        # KMS-encrypted objects are sent only for requests signed in this way.
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        ignore_configured_endpoint_urls=True,
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
    )
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=settings.endpoint_url or None,
        verify=True if settings.ca_bundle is None else str(context.root / settings.ca_bundle),
        config=config,
    )


def _use_stored_credentials(session: Any, context: SourceContext) -> None:
    key, secret = (context.credentials.get(name, "") for name in ("access_key_id", "secret_access_key"))
    if not key or not secret:
        raise Refused(
            f"source {context.name!r} has incomplete credentials",
            fix=f"store them with `wellspring source login {context.name}`",
        )
    session.set_credentials(key, secret, context.credentials.get("session_token"))


def _use_instance_role(session: Any, metadata_url: str) -> None:
    from botocore.credentials import CredentialResolver, InstanceMetadataProvider
    from botocore.utils import InstanceMetadataFetcher

    # Version 1 of the metadata service answers whoever can make this process send a request.
    fetcher = InstanceMetadataFetcher(
        timeout=_METADATA_TIMEOUT,
        num_attempts=2,
        base_url=metadata_url,
        env={},
        config={"ec2_metadata_v1_disabled": True},
    )
    session.register_component("credential_provider", CredentialResolver([InstanceMetadataProvider(fetcher)]))
