"""Memory that stays with the process from one batch to the next.

A batch of faces is some dozens of megabytes. The GNU C library takes pieces of that size from the
operating system one by one and gives each back when it is done with, and the system clears every
page before it hands it out again. Where that is slow, as on most virtual machines, it can take
longer than the arithmetic. PyTorch's tuning guide advises to change the allocator for this reason.
"""

import ctypes

# Of malloc.h, where both are negative so that they look like no size.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT = 2**31 - 1
"""Bytes that may lie unused before some are given back; the largest number that fits."""


def keep_memory() -> bool:
    """Ask the C library to keep what this process frees, and use it again.

    This is for the whole process and until its end; numbers do not change, only addresses. What
    lies free behind everything in use goes back to the system once it is more than 2 GiB. The
    ``occfer`` command asks for it, and so do :func:`occfer.pretrain` and :func:`occfer.finetune`.
    In a program of your own that covers or cuts many batches, call it once at the beginning.

    Returns:
        Whether the C library has agreed: False on macOS, on Windows and with musl, where nothing
        happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, KEPT))
