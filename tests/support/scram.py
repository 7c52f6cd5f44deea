"""Passwords as PostgreSQL keeps them, for tests that connect to it by the thousand."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode


def verifier(password: str) -> str:
    """
    Return what PostgreSQL would keep of *password*, but for one round of hashing.

    It usually has 4,096, which both sides go through at each connection.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [b64encode(each).decode() for each in (salt, stored, server)]
    return "SCRAM-SHA-256$1:{}${}:{}".format(*told)
