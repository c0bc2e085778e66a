"""Who may connect to the headset server, and the certificate it shows."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import stat
from pathlib import Path

import pytest

from bodystream.errors import ConfigurationError
from bodystream.web.access import AccessPolicy, is_loopback, make_token, page_url
from bodystream.web.certificate import (
    configuration_folder,
    local_addresses,
    own_certificate,
    server_context,
    user_certificate,
)
from helpers.needs import needs

x509 = needs("cryptography.x509", "pip install 'bodystream[webxr]'")

TOKEN = "abcd2345"


def kind(
    policy: AccessPolicy, target: str = "/", host: str = "127.0.0.1:8443", origin: str | None = None
) -> str | None:
    refusal = policy.refusal(target, [host], [] if origin is None else [origin])
    return None if refusal is None else refusal.kind


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.2", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("host", "refused"),
    [("127.0.0.1:8443", None), ("localhost:9000", None), ("[::1]:8443", None), ("LOCALHOST:1", None),
     ("evil.example:8443", "host"), ("192.168.1.2:8443", "host"), ("", "host"), ("[::1", "host"),
     ("127.0.0.1.evil.example", "host")],
)  # fmt: skip
def test_the_loopback_answers_to_its_own_names_only(host: str, refused: str | None) -> None:
    assert kind(AccessPolicy("127.0.0.1", None, "https"), host=host) == refused


def test_in_a_network_addresses_and_our_name_are_ours_and_other_names_are_not() -> None:
    policy = AccessPolicy("0.0.0.0", TOKEN, "https")
    target = f"/?token={TOKEN}"
    for host in ("192.168.1.2:8443", "[fd00::2]:8443", "localhost:1", f"{socket.gethostname()}:8443"):
        assert kind(policy, target, host) is None
    assert kind(policy, target, "rebound.evil.example:8443") == "host"


def test_one_host_header_is_needed() -> None:
    policy = AccessPolicy("127.0.0.1", None, "https")
    for hosts in ([], ["localhost", "localhost"]):
        refusal = policy.refusal("/", hosts, [])
        assert refusal is not None and refusal.kind == "host"
    refusal = policy.refusal("/", ["localhost"], ["https://localhost", "https://localhost"])
    assert refusal is not None and refusal.kind == "origin"


@pytest.mark.parametrize(
    ("origin", "refused"),
    [("https://127.0.0.1:8443", None), (None, None), ("https://192.168.1.2:8080", None),
     ("https://evil.example", "origin"), ("http://127.0.0.1:8443", "origin"), ("https://127.0.0.1:9999", "origin"),
     ("null", "origin"), ("", "origin"), ("https://127.0.0.1:8443.evil.example", "origin")],
)  # fmt: skip
def test_only_our_page_and_allowed_ones_connect(origin: str | None, refused: str | None) -> None:
    policy = AccessPolicy("127.0.0.1", None, "https", ["https://192.168.1.2:8080"])
    assert kind(policy, "/headset", origin=origin) == refused


@pytest.mark.parametrize(
    ("query", "refused"),
    [(f"?token={TOKEN}", None), (f"?a=1&token={TOKEN}", None), ("", "token"), ("?token=", "token"),
     ("?token=abcd2346", "token"), (f"?token={TOKEN}&token=x", "token"), (f"?Token={TOKEN}", "token"),
     ("?token=%ff%fe", "token"), ("?token=\udcff", "token"), (f"?token={TOKEN.upper()}", "token"),
     ("?" + "x" * 2000, "path")],
)  # fmt: skip
def test_token(query: str, refused: str | None) -> None:
    assert kind(AccessPolicy("127.0.0.1", TOKEN, "https"), f"/{query}") == refused


def test_only_a_wrong_token_is_a_guess() -> None:
    policy = AccessPolicy("127.0.0.1", TOKEN, "https")
    for query, guess in (("", False), ("?token=wrong", True)):
        refusal = policy.refusal(f"/{query}", ["localhost"], [])
        assert refusal is not None and refusal.guess is guess


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a token"):
        AccessPolicy("0.0.0.0", None, "https")
    for token in ("short", "with space", "sl/ash/es", "ümläute2345"):
        with pytest.raises(ConfigurationError, match="8 letters and digits"):
            AccessPolicy("127.0.0.1", token, "https")
    for origin in ("192.168.1.2:8080", "https://a/b", "ftp://a", "https://"):
        with pytest.raises(ConfigurationError, match="not an origin"):
            AccessPolicy("127.0.0.1", None, "https", [origin])


def test_tokens_differ_and_are_easy_to_type() -> None:
    tokens = {make_token() for _ in range(200)}
    assert len(tokens) == 200
    assert set("".join(tokens)) <= set("abcdefghjkmnpqrstuvwxyz23456789")
    AccessPolicy("0.0.0.0", tokens.pop(), "https")


def test_addresses_for_people() -> None:
    assert page_url("https", "192.168.1.2", 8443, TOKEN) == f"https://192.168.1.2:8443/?token={TOKEN}"
    assert page_url("http", "::1", 80, None) == "http://[::1]:80/"
    for address in local_addresses():
        assert not ipaddress.ip_address(address).is_loopback


def test_the_certificate_is_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "bodystream"
    first = own_certificate(folder)
    assert first.note and first.own
    if os.name == "posix":
        assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again = own_certificate(folder)
    assert (again.fingerprint, again.note) == (first.fingerprint, "")
    assert [p.name for p in folder.iterdir()] == [first.path.name]  # nothing left over
    certificate = x509.load_pem_x509_certificate(first.path.read_bytes())
    from cryptography.hazmat.primitives import hashes

    assert first.fingerprint.replace(":", "").lower() == certificate.fingerprint(hashes.SHA256()).hex()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= datetime.timedelta(days=398)


@pytest.mark.parametrize("damage", ["cut", "binary", "empty", "readable", "huge"])
def test_a_certificate_that_cannot_be_trusted_is_made_anew(tmp_path: Path, damage: str) -> None:
    first = own_certificate(tmp_path)
    if damage == "cut":
        first.path.write_bytes(first.path.read_bytes()[:300])
    elif damage == "binary":
        first.path.write_bytes(b"\xff\x00" * 100)
    elif damage == "empty":
        first.path.write_bytes(b"")
    elif damage == "huge":
        first.path.write_bytes(b"x" * 100_000)
    else:
        if os.name != "posix":
            pytest.skip("the permissions are POSIX's")
        first.path.chmod(0o644)
    second = own_certificate(tmp_path)
    assert second.note and second.fingerprint != first.fingerprint
    server_context(second)
    if os.name == "posix":
        assert stat.S_IMODE(second.path.stat().st_mode) == 0o600


def test_a_certificate_that_expires_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.web.certificate._DAYS_VALID", 10)
    first = own_certificate(tmp_path)
    monkeypatch.undo()
    second = own_certificate(tmp_path)
    assert second.fingerprint != first.fingerprint and "expire" in second.note


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="certificate of your own|certificate and key of your own"):
        own_certificate(tmp_path / "file")


def test_the_users_own_certificate(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    made = own_certificate(tmp_path / "one")
    text = made.path.read_text()
    split = text.index("-----BEGIN CERTIFICATE-----")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_text(text[:split])
    certificate.write_text(text[split:])
    assert user_certificate(certificate, key).fingerprint == made.fingerprint
    assert user_certificate(made.path, None).fingerprint == made.fingerprint

    with pytest.raises(ConfigurationError, match="not a file"):
        user_certificate(tmp_path / "absent.pem", None)
    with pytest.raises(ConfigurationError, match="PEM"):
        user_certificate(key, key)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        user_certificate(certificate, own_certificate(tmp_path / "two").path)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        user_certificate(certificate, None)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="pass phrase"):
        user_certificate(certificate, key)


def test_where_settings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert configuration_folder() == tmp_path / "bodystream"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert configuration_folder() == tmp_path / ".config" / "bodystream"
