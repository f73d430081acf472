"""The addresses this very process listens on, asked of the operating system.

A header can be forged, and a connection's own local address is 127.0.0.1 for a local client of a server bound to every
interface. Only the listening socket, which BentoML's supervisor hands to its workers, knows what it is bound to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address
Listeners = Callable[[], Sequence[Address]]
_OPEN_FILES = (Path("/proc/self/fd"), Path("/dev/fd"))


def listening_addresses() -> list[Address]:
    """The address of each listening TCP socket of this process. Empty where the system does not tell."""
    folder = next((path for path in _OPEN_FILES if path.is_dir()), None)
    descriptors = [] if folder is None else [int(file.name) for file in folder.iterdir() if file.name.isdigit()]
    return [address for fd in descriptors if (address := _listening_address(fd)) is not None]


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach an address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _listening_address(descriptor: int) -> Address | None:
    """The address of an open file that is a listening TCP socket, else None. Leaves the file open."""
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed since the folder was listed
        return None
    try:
        probe = socket.socket(fileno=copy)
    except OSError:  # no socket
        os.close(copy)
        return None
    with probe:
        try:
            if probe.family not in (socket.AF_INET, socket.AF_INET6) or probe.type != socket.SOCK_STREAM:
                return None
            if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            return ip_address(probe.getsockname()[0].partition("%")[0])
        except (OSError, ValueError):
            return None
