from __future__ import annotations

import pytest

from tests.builders.backups import MASTER_KEY, ORIGIN, PASSPHRASES
from wellspring.backup.master_key import KeyShare, SecretCipher, decrypt_part, join_shares, parse_share, split_key
from wellspring.errors import CorruptedError, Refused


@pytest.fixture(scope="module")
def shares() -> tuple[KeyShare, KeyShare]:
    return split_key(MASTER_KEY, PASSPHRASES, project="shop", origin=ORIGIN)


def test_both_custodians_together_have_the_key(shares: tuple[KeyShare, KeyShare]):
    assert join_shares(shares, PASSPHRASES) == MASTER_KEY
    assert join_shares((shares[1], shares[0]), (PASSPHRASES[1], PASSPHRASES[0])) == MASTER_KEY


def test_a_wrong_passphrase_is_refused(shares: tuple[KeyShare, KeyShare]):
    with pytest.raises(Refused, match="custodian 2 cannot be decrypted"):
        join_shares(shares, (PASSPHRASES[0], "a passphrase of nobody"))


def test_one_custodian_alone_is_refused(shares: tuple[KeyShare, KeyShare]):
    with pytest.raises(Refused, match="the same custodian"):
        join_shares((shares[0], shares[0]), (PASSPHRASES[0], PASSPHRASES[0]))


def test_shares_of_different_keys_are_refused(shares: tuple[KeyShare, KeyShare]):
    another = split_key(bytes(32), PASSPHRASES, project="shop", origin=ORIGIN)
    with pytest.raises(Refused, match="different keys"):
        join_shares((shares[0], another[1]), PASSPHRASES)


def test_shares_of_two_exports_of_one_key_do_not_give_another_key(shares: tuple[KeyShare, KeyShare]):
    again = split_key(MASTER_KEY, PASSPHRASES, project="shop", origin=ORIGIN)
    with pytest.raises(CorruptedError, match="do not give the key"):
        join_shares((shares[0], again[1]), PASSPHRASES)


def test_a_changed_share_cannot_be_decrypted(shares: tuple[KeyShare, KeyShare]):
    renamed = shares[0].model_copy(update={"project": "shed"})
    with pytest.raises(Refused, match="or changed file"):
        join_shares((renamed, shares[1]), PASSPHRASES)


@pytest.mark.parametrize("passphrases", [("short", PASSPHRASES[1]), (PASSPHRASES[0], "a" * 30), (PASSPHRASES[0],) * 2])
def test_weak_and_equal_passphrases_are_refused(passphrases: tuple[str, str]):
    with pytest.raises(Refused):
        split_key(MASTER_KEY, passphrases, project="shop", origin=ORIGIN)


def test_a_file_of_another_kind_is_not_a_share(shares: tuple[KeyShare, KeyShare]):
    assert parse_share(shares[0].model_dump_json().encode(), "file") == shares[0]
    with pytest.raises(CorruptedError, match="is not a share"):
        parse_share(b"{}", "file")


@pytest.mark.parametrize("content", [b"", b"\0", b"secret"])
def test_secrets_are_encrypted_for_their_path(content: bytes):
    cipher = SecretCipher(MASTER_KEY)
    stored = cipher.encrypt(content, "witness/key")
    assert cipher.encrypt(content, "witness/key") == stored
    assert cipher.decrypt(stored, "witness/key") == content
    with pytest.raises(CorruptedError):
        cipher.decrypt(stored, "vendor/host_key")
    with pytest.raises(CorruptedError):
        SecretCipher(bytes(32)).decrypt(stored, "witness/key")


def test_one_custodian_alone_has_nothing_of_the_key(shares: tuple[KeyShare, KeyShare]):
    """Under each passphrase alone is another value than the key, and another one in each export."""
    again = split_key(MASTER_KEY, PASSPHRASES, project="shop", origin=ORIGIN)
    parts = {decrypt_part(share, PASSPHRASES[share.custodian - 1]) for share in (*shares, *again)}
    assert len(parts) == 4
    assert MASTER_KEY not in parts
