"""How glibc's allocator is told to keep its memory, which makes training on a processor faster.

The settings are read when a process starts. docs/design/0001-foundation.md has the reasons and a measurement.
"""

from __future__ import annotations

SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",  # bytes: practically never give memory back
    "MALLOC_MMAP_MAX_": "0",  # no block by mmap
    "MALLOC_TOP_PAD_": "67108864",  # bytes: grow in steps of 64 MiB
    "MALLOC_ARENA_MAX": "1",  # one heap, so that what one thread frees another reuses
}
