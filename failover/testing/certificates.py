"""A certificate that nobody trusts, to show that nobody does."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any, cast

from failover.errors import ConfigError

__all__ = ["wrong_certificate"]


@cache
def wrong_certificate() -> ssl.SSLContext:
    """A server's context with a certificate for `wrong.invalid`, of an authority made for it alone.

    Raises:
        ConfigError: `trustme`, which makes it, is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise ConfigError(
            "TlsFailure('wrong_certificate') without a context has trustme make the certificate: "
            "pip install trustme (or failover[test]), or give TlsFailure(context=...)"
        ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cast("Any", trustme.CA()).issue_cert("wrong.invalid").configure_cert(context)  # its types are not all known
    return context
