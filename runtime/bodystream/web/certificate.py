"""A self-signed certificate, made once: browsers show WebXR to pages from https addresses only."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import secrets
import socket
import ssl
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bodystream.errors import ConfigurationError, MissingDependencyError

__all__ = [
    "Certificate",
    "configuration_folder",
    "local_addresses",
    "own_certificate",
    "server_context",
    "user_certificate",
]

_FILE_NAME = "webxr.pem"
_DAYS_VALID = 397  # browsers refuse longer ones
_DAYS_BEFORE_RENEWAL = 14
_MAX_FILE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, in one PEM file or two.

    Attributes:
        fingerprint: SHA-256 of the certificate, as browsers show it: upper-case hexadecimal with colons.
        own: whether bodystream made it, so that browsers warn of it.
        note: what the user should know of it (it was made or renewed, and why), else empty.
    """

    path: Path
    key_path: Path
    fingerprint: str
    own: bool
    note: str = ""


def configuration_folder() -> Path:
    """Where this user's settings of bodystream are kept, by the custom of the operating system."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "bodystream"


def local_addresses() -> list[str]:
    """The addresses of this machine that a headset in the same network can reach, the default route's first."""
    found = []
    for family, probe in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Nothing is sent: connecting a datagram socket only chooses the interface.
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as chooser:
                chooser.connect((probe, 9))
                found.append(chooser.getsockname()[0])
        except OSError:
            continue  # no route of this family
    for addresses in psutil.net_if_addrs().values():
        found += [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
    usable = []
    for text in found:
        address = ipaddress.ip_address(text.split("%")[0])
        if not (address.is_loopback or address.is_link_local or address.is_unspecified) and str(address) not in usable:
            usable.append(str(address))
    return usable


def own_certificate(folder: Path | None = None) -> Certificate:
    """The certificate in the user's configuration folder; made when there is none that can be used.

    A browser remembers that its user trusted a certificate, so the same one is used until it expires. The file holds
    the private key, too: it and its folder are for their owner only, and one that others could read is replaced.

    Args:
        folder: of the file; None takes `configuration_folder()`.

    Raises:
        MissingDependencyError: `cryptography` is not installed.
        ConfigurationError: the folder cannot be written.
    """
    folder = configuration_folder() if folder is None else folder
    path = folder / _FILE_NAME
    try:
        reason = _unusable(path)
        if reason:
            _write_private(path, _make())
        fingerprint = _fingerprint(path.read_text())
    except OSError as error:
        raise ConfigurationError(
            f"the certificate {path} cannot be kept ({error.strerror or error}): make its folder writable, or give a "
            "certificate and key of your own"
        ) from error
    return Certificate(path, path, fingerprint, own=True, note=f"a certificate was made: {reason}" if reason else "")


def user_certificate(path: Path, key_path: Path | None) -> Certificate:
    """A certificate that the user brought, with its key in `key_path` or in the same file.

    Raises:
        ConfigurationError: a file is absent, is not PEM, the key does not belong to it or has a pass phrase.
    """
    key = path if key_path is None else key_path
    for file, what in ((path, "certificate"), (key, "key")):
        if not file.is_file():
            raise ConfigurationError(f"the {what} {file} is not a file: give the path of a PEM file")
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigurationError(f"the {what} {file} has more than {_MAX_FILE_BYTES} bytes: give a PEM file")
    try:
        fingerprint = _fingerprint(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the certificate {path} cannot be read as PEM ({error}): convert it to PEM"
        ) from error
    certificate = Certificate(path, key, fingerprint, own=False)
    server_context(certificate)
    return certificate


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """TLS as a server with this certificate.

    Raises:
        ConfigurationError: certificate and key cannot be used together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def refuse_to_ask() -> str:
        # Without this, OpenSSL would ask for the pass phrase on the terminal and wait.
        raise ConfigurationError(
            f"the key {certificate.key_path} has a pass phrase: give one without (openssl pkey -in KEY -out PLAIN)"
        )

    try:
        context.load_cert_chain(certificate.path, certificate.key_path, password=refuse_to_ask)
    except OSError as error:  # an SSLError is one
        raise ConfigurationError(
            f"the certificate {certificate.path} with the key {certificate.key_path} cannot be used ({error}): both "
            "must be PEM, and the key the certificate's own"
        ) from error
    return context


def _unusable(path: Path) -> str:
    """Why a new certificate is needed; empty if not."""
    if not path.is_file():
        return "there was none yet"
    state = path.stat()
    if os.name == "posix" and stat.S_IMODE(state.st_mode) & 0o077:
        return f"others could read the key in {path}"
    if state.st_size > _MAX_FILE_BYTES:
        return f"{path} is not what was written"
    x509 = _cryptography()
    try:
        text = path.read_text()
        certificate = x509.load_pem_x509_certificate(text.encode())
        server_context(Certificate(path, path, "", own=True))
    except (ValueError, ConfigurationError):  # damaged, or no text at all
        return f"{path} is not what was written"
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    if left < datetime.timedelta(days=_DAYS_BEFORE_RENEWAL):
        return "the earlier one expires or has expired"
    return ""


def _make() -> bytes:
    """PEM of a new private key (P-256) and its self-signed certificate for the names and addresses of this machine."""
    x509 = _cryptography()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bodystream on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # a headset's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=_DAYS_VALID - 1))
        .add_extension(x509.SubjectAlternativeName(_names(x509, local_addresses())), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _names(x509, addresses: Sequence[str]) -> list:
    hosts = ["localhost"]
    hostname = socket.gethostname().lower()
    # A name that is no DNS name (a space, a letter with an accent) cannot stand in a certificate.
    if hostname.isascii() and hostname.replace("-", "").replace(".", "").isalnum():
        hosts += [hostname] if "." in hostname else [hostname, f"{hostname}.local"]
    unique = dict.fromkeys(hosts)
    return [x509.DNSName(host) for host in unique] + [
        x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1", *addresses)
    ]


def _write_private(path: Path, content: bytes) -> None:
    """Write whole or not at all, never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _fingerprint(pem: str) -> str:
    """Of the first certificate in a PEM text."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start, stop = pem.find(begin), pem.find(end)
    if start < 0 or stop < start:
        raise ValueError("it holds no certificate")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start : stop + len(end)])).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def _cryptography():
    try:
        from cryptography import x509
    except ImportError as error:
        raise MissingDependencyError(
            "cryptography",
            "to make the https certificate for a headset's browser",
            "Install it: pip install 'bodystream[webxr]', or give a certificate and key of your own.",
        ) from error
    return x509
