"""Podman as the runtime: its libpod REST API (`libpod*`), and the verbs upon it."""

from piccolo.runtime.podman.client import Podman as Podman
from piccolo.runtime.podman.client import find_socket as find_socket
