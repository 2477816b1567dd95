"""Addresses of files: a user name and a password in them are sent to the server, and shown nowhere."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from data.cache import DataError


@dataclass(frozen=True)
class Address:
    """The address of a file. As text it has no user name and no password.

    Attributes:
        url: The address without user name and password.
        login: ``user:password`` as it stands in front of the host; empty without.
    """

    url: str
    login: str = field(default="", repr=False)

    @classmethod
    def below(cls, base: str, name: str, setting: str) -> Address:
        """The address of a file below a base address.

        Args:
            base: Address of a folder, of http or https. Its user name and password have signs such as / as %2F.
            name: Path of the file below it.
            setting: What sets the base, for messages.

        Raises:
            DataError: If the base is no such address. The message does not show it.

        Example:
            >>> address = Address.below("https://me:secret@host/folder/", "a.zip", "JUMPSTART_UCI_URL")
            >>> print(address)
            https://host/folder/a.zip
            >>> address
            Address(url='https://host/folder/a.zip')
        """
        try:
            parts = urlsplit(base)
            login, _, host = parts.netloc.rpartition("@")
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.query or parts.fragment or "@" in parts.path:
            raise DataError(
                f"{setting} must be an address like https://host/folder or https://user:password@host/folder, with "
                "the signs / ? # @ of the user name, the password and the folder as %2F %3F %23 %40."
            )
        return cls(f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{name}", login)

    @property
    def authorization(self) -> str:
        """The header of HTTP that has user name and password; empty without."""
        return f"Basic {b64encode(unquote(self.login).encode()).decode('ascii')}" if self.login else ""

    def __str__(self) -> str:
        """The address without user name and password."""
        return self.url
