"""Replace identifiers by one-way keyed tokens, per domain and key version.

HMAC-SHA-256 truncated to 128 bits, with a key derived for one domain and version, so equal values of two domains have
different tokens. Tokens cannot be inverted; the enclave's vault looks identifiers up. Deterministic tokens show which
rows are equal, and the holder of the key can try every possible value: security depends on the key.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping
from sys import byteorder
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

BASE32_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
TOKEN_BYTES = 16
_HMAC_BLOCK_BYTES = 64


class Tokenizer:
    """Makes tokens `<domain>_k<version>_<26 characters>` (base32 of RFC 4648, lower case, unpadded).

    keys: for each domain its key's version and at least 32 secret bytes. tenant: whose values these are; empty for the
    project's own tenant, whose keys are derived without its name. Two tenants have different tokens.

    The UTF-8 bytes of a value are hashed as they are, not trimmed, folded or normalized: `A1` and `a1` have different
    tokens.
    """

    def __init__(self, keys: Mapping[str, tuple[int, bytes]], *, tenant: str = "") -> None:
        self._prefixes = {domain: f"{domain}_k{version}_" for domain, (version, _) in keys.items()}
        self._hmac_pads = {
            domain: _derive_hmac_pads(domain, version, key, tenant) for domain, (version, key) in keys.items()
        }

    def tokenize_value(self, domain: str, value: str) -> str:
        """Return the token of one value. Raises NotFound for a domain without a key."""
        return self.tokenize_column(domain, [value])[0].as_py()

    def tokenize_column(self, domain: str, values: pa.Array | pa.ChunkedArray | list[str | None]) -> pa.Array:
        """Return the tokens of a text column as an Arrow string array; a null stays null.

        Raises NotFound for a domain without a key. Each distinct value is hashed once.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if domain not in self._hmac_pads:
            raise NotFound(
                f"no token key for the domain {domain!r}",
                fix=f"name one of: {', '.join(sorted(self._hmac_pads)) or 'none'}; or give the domain a key",
            )
        column = pa.array(values, pa.string()) if isinstance(values, list) else values
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        encoded = column.cast(pa.large_string()).dictionary_encode()
        digests = self._digests(domain, encoded.dictionary.cast(pa.large_binary()).to_pylist())
        texts = _encode_base32(digests, len(encoded.dictionary))
        prefix, separator = pa.scalar(self._prefixes[domain], pa.large_string()), pa.scalar("", pa.large_string())
        tokens = pc.binary_join_element_wise(prefix, texts, separator)
        return tokens.take(encoded.indices).cast(pa.string())

    def _digests(self, domain: str, values: Iterable[bytes]) -> bytes:
        # HMAC of RFC 2104, written out: `hmac.digest` takes twice as long for a value of a few bytes.
        inner, outer = self._hmac_pads[domain]
        sha256 = hashlib.sha256
        return b"".join([sha256(outer + sha256(inner + value).digest()).digest()[:TOKEN_BYTES] for value in values])


def _derive_hmac_pads(domain: str, version: int, key: bytes, tenant: str) -> tuple[bytes, bytes]:
    """Derive the key of a tenant, domain and version (HKDF, RFC 5869); return its two HMAC pads (RFC 2104)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if len(key) < 32:
        raise CorruptedError(
            f"the key of the token domain {domain!r} has fewer than 32 bytes", fix="restore the right key"
        )
    info = f"wellspring/token/v1/{domain}/{version}".encode()
    if tenant:
        # A slash is in no tenant, domain or version, so no two of these texts are equal.
        info = f"wellspring/token/v2/{tenant}/{domain}/{version}".encode()
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key).ljust(_HMAC_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in derived), bytes(byte ^ 0x5C for byte in derived)


def _encode_base32(digests: bytes, count: int) -> pa.Array:
    """Encode `count` 16-byte digests in base32, by column; ten bits give two letters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = array("Q", digests)
    if byteorder == "little":
        words.byteswap()
    halves = pa.array(words, pa.uint64()) if count else pa.array([], pa.uint64())
    positions = pa.array(range(0, 2 * count, 2), pa.int64())
    high, low = halves.take(positions), halves.take(pc.add(positions, 1))

    def bits(half: pa.Array, shift: int) -> pa.Array:
        return pc.bit_wise_and(pc.shift_right(half, pa.scalar(shift, pa.uint64())), pa.scalar(1023, pa.uint64()))

    middle = pc.bit_wise_or(
        pc.shift_left(pc.bit_wise_and(high, pa.scalar(15, pa.uint64())), pa.scalar(6, pa.uint64())), bits(low, 58)
    )
    last = pc.shift_left(pc.bit_wise_and(low, pa.scalar(255, pa.uint64())), pa.scalar(2, pa.uint64()))
    separator = pa.scalar("", pa.large_string())
    pair_indices = [
        *(bits(high, shift) for shift in range(54, 0, -10)),
        middle,
        *(bits(low, shift) for shift in range(48, 0, -10)),
        last,
    ]
    pairs = pa.array([first + second for first in BASE32_ALPHABET for second in BASE32_ALPHABET], pa.large_string())
    return pc.binary_join_element_wise(*(pairs.take(indices) for indices in pair_indices), separator)
