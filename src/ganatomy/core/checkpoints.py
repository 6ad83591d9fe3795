"""Checkpoint files: written whole or not at all, read without trusting them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path

SCHEMA_VERSION = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and containers of them, atomically."""
    buffer = io.BytesIO()  # torch.save would report a full disk as an error of its own kind
    torch.save({"schema_version": SCHEMA_VERSION, **state}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint's tensors onto `device`; nothing in the file is executed.

    Raises:
        UserError: the file is damaged, or of another version of ganatomy.
        OSError, MemoryError, torch.OutOfMemoryError: as they come; the file may be sound.
    """
    data = path.read_bytes()
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        version = state["schema_version"]
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything here
        raise damaged(path, error) from error
    if version != SCHEMA_VERSION:
        raise UserError(f"this checkpoint has schema version {version}, this ganatomy reads {SCHEMA_VERSION}",
                        where=path, fix="go on with the ganatomy that made it, or train again in another folder")
    return state


def damaged(path: Path, error: Exception) -> UserError:
    """The error for a checkpoint that cannot be used."""
    return UserError(f"this checkpoint is damaged ({' '.join(str(error).split())[:120]})", where=path,
                     fix="move the run folder away and train again")
