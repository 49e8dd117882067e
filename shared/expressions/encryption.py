"""Encryption of `encrypt()` and `decrypt()`: AES-GCM as Kestra does it, so that either reads the other's."""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.expressions.errors import Refusal

#: Bytes of the random nonce in front of the ciphertext: what AES-GCM asks for (NIST SP 800-38D §8.2).
NONCE_BYTES = 12


def encrypt(key: str, plaintext: str) -> str:
    """Encrypt a text with a key in base64; give base64 of nonce, ciphertext and tag.

    Raises:
        Refusal: the key isn't base64 of 16, 24 or 32 bytes.
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = _cipher(key).encrypt(nonce, plaintext.encode(), None)
    return base64.b64encode(nonce + sealed).decode()


def decrypt(key: str, encrypted: str) -> str:
    """Undo `encrypt`.

    Raises:
        Refusal: the key doesn't fit, or the text isn't one that `encrypt` made.
    """
    try:
        sealed = base64.b64decode(encrypted, validate=True)
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None).decode()
    except (binascii.Error, InvalidTag, ValueError) as error:
        raise Refusal("The text can't be decrypted with this key.") from error


def _cipher(key: str) -> AESGCM:
    try:
        return AESGCM(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refusal("The key must be base64 of 16, 24 or 32 bytes.") from error
