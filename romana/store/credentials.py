"""What a client shows etcd of itself, and what it asks of etcd: files that are read again whenever they have changed.

Certificates are renewed while daemons run, and passwords are changed. So a new connection after a failure looks at the files
again, and a log-in reads the password file each time; a daemon need not be restarted.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc

from romana.errors import ConfigError, Fault

__all__ = ["Credentials", "TlsFiles"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Contents of the files, PEM (RFC 7468)."""

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files and names of the section `etcd` of the configuration; all empty: neither TLS nor a user."""

    ca: str = ""
    """Certificates that etcd's own is checked against; empty: no TLS."""
    cert: str = ""
    key: str = ""
    """What we show when etcd asks for a client's certificate (--client-cert-auth)."""
    server_name: str = ""
    """The name that etcd's certificate must have; empty: that of the endpoint."""
    user: str = ""
    password_file: str = ""
    """For --auth-token simple or jwt; without, a certificate's common name may be the user."""

    def faults(self) -> list[Fault]:
        """All that is wrong with what is set, each with its configuration key; no file is looked at."""
        found = []
        if bool(self.cert) != bool(self.key):
            there, absent = ("cert", "key") if self.cert else ("key", "cert")
            found.append(Fault(f"etcd.{absent}", f"is not set, but etcd.{there} is; a client certificate needs both"))
        if self.cert and not self.ca:
            found.append(Fault("etcd.ca", "is not set, but etcd.cert is; name the certificates to check etcd's own against"))
        if self.server_name and not self.ca:
            found.append(Fault("etcd.server_name", "is set, but etcd.ca is not; without TLS nothing has a name"))
        if bool(self.user) != bool(self.password_file):
            there, absent = ("user", "password_file") if self.user else ("password_file", "user")
            found.append(Fault(f"etcd.{absent}", f"is not set, but etcd.{there} is; a log-in needs both"))
        return found

    def file_faults(self) -> list[Fault]:
        """The files that cannot be read."""
        return [fault for name in ("ca", "cert", "key", "password_file") if (fault := self._unreadable(name))]

    def check(self) -> None:
        """Raise ConfigError with all that is wrong, files included."""
        faults = [*self.faults(), *self.file_faults()]
        if faults:
            raise ConfigError("etcd cannot be reached as configured:", faults)

    def tls(self) -> TlsFiles | None:
        """The files as they are now; None without TLS. Raises ConfigError."""
        if not self.ca:
            return None
        self.check()
        cert, key = (Path(path).read_bytes() if path else None for path in (self.cert, self.key))
        return TlsFiles(Path(self.ca).read_bytes(), cert, key)

    def password(self) -> str:
        """The password file's first line, as it is now. Raises ConfigError."""
        self.check()
        return Path(self.password_file).read_text().partition("\n")[0]

    def _unreadable(self, name: str) -> Fault | None:
        path = getattr(self, name)
        if not path:
            return None
        try:
            content = Path(path).read_bytes()
        except OSError as err:
            return Fault(f"etcd.{name}", f"is {path!r}, which cannot be read: {err.strerror}")
        return None if content.strip() else Fault(f"etcd.{name}", f"is {path!r}, which is empty")
