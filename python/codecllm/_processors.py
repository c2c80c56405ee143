"""How many threads are worth having."""

from __future__ import annotations

import os


def processors() -> int:
    """Processors that this process may run on: fewer than the machine has where a container or taskset says so."""
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
