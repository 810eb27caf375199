"""Contrast: what is compared with what, beside the ranking loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.contrast.registry import SSL, build_contrast

__all__ = ["SSL", "build_contrast"]

__getattr__, __dir__ = lazy(
    __name__, {"SSL": "gclrec.contrast.registry", "build_contrast": "gclrec.contrast.registry"}
)
