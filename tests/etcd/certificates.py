"""A certificate authority of the tests' own, made with openssl(1), which Debian's ca-certificates brings."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Authority", "Pair"]

EXTENSIONS = "subjectAltName=DNS:{name},DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its private key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; `folder` has everything."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._name = folder, name
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        self._openssl("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.cert, "-days", "2", "-subj", f"/CN={name}")

    def sign(self, name: str, days: int = 2, san: str = "") -> Pair:
        """A certificate for client and server; `days` below 0: it has expired. `san`: another name than localhost."""
        pair = Pair(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}-key.pem")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        text = EXTENSIONS.format(name=name)
        extensions.write_text(text if not san else text.replace(f"DNS:{name},DNS:localhost", f"DNS:{san}"))
        self._openssl("req", *NEW_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
        signing: list[str | Path] = ["-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions]
        self._openssl("x509", "-req", "-in", request, "-out", pair.cert, *signing, "-days", str(days))
        return pair

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
