"""How a device gets in whose user can read this computer's screen: a short code, typed once, for a token."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict

__all__ = ["CODE_LETTERS", "Pairing"]

# Without letters that are taken for another: people type this on a keyboard that floats in front of them.
CODE_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_CODE_LENGTH = 6
_CODE_S = 300.0
_GUESSES = 10
_MAX_TOKENS = 256
_TOKEN_S = 24 * 3600.0
_TOKEN_BYTES = 24


class Pairing:
    """Hands out tokens for codes. A code is good for one device, for five minutes and for ten wrong guesses.

    Tokens are of this run alone and are kept as hashes; one that was not used for a day is forgotten. All methods may
    be called from any thread; times are of one monotonic clock [ns].
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._code = ""
        self._until_ns = 0
        self._wrong = 0
        self._tokens: OrderedDict[bytes, int] = OrderedDict()

    def code(self, now_ns: int) -> tuple[str, bool]:
        """The code that is good now, and whether it was made just now, so that a person has to be told of it."""
        with self._lock:
            if self._code and now_ns < self._until_ns - 60 * 1_000_000_000:
                return self._code, False
            self._code = "".join(secrets.choice(CODE_LETTERS) for _ in range(_CODE_LENGTH))
            self._until_ns = now_ns + round(_CODE_S * 1e9)
            self._wrong = 0
            return self._code, True

    def redeem(self, given: str, now_ns: int) -> str | None:
        """A token for the code, which is spent by that; None where it is wrong, spent or too old."""
        wanted = "".join(c for c in given.upper() if c.isalnum())[: 2 * _CODE_LENGTH]
        with self._lock:
            code = self._code if now_ns < self._until_ns else ""
            if not code or not hmac.compare_digest(wanted.encode(), code.encode()):
                self._wrong += 1
                if self._wrong >= _GUESSES:
                    self._code = ""
                return None
            self._code = ""
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            self._tokens[_hash(token)] = now_ns
            while len(self._tokens) > _MAX_TOKENS:
                self._tokens.popitem(last=False)
            return token

    def accepts(self, token: str, now_ns: int) -> bool:
        """Whether the token was handed out by this and was in use within the last day."""
        key = _hash(token)
        with self._lock:
            used_ns = self._tokens.get(key)
            if used_ns is None:
                return False
            if now_ns - used_ns > _TOKEN_S * 1e9:
                del self._tokens[key]
                return False
            self._tokens[key] = now_ns
            self._tokens.move_to_end(key)
            return True


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
