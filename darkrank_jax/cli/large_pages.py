"""Large pages for what XLA allocates on CPUs."""

import os
import sys
from pathlib import Path

# Of glibc's malloc, which reads it when a process starts.
TUNABLES = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_large_pages(setting: Path = _SETTING) -> None:
    """Starts this process again, as the same process, with large pages where they can be had.

    XLA allocates the intermediate maps of a step on a CPU in one block, and returns it: every step
    takes new pages from Linux, and far fewer of 2 MiB than of 4 KiB. Does nothing where JAX is
    loaded, GLIBC_TUNABLES is set, or Linux gives large pages to all or none.

    Args:
      setting: the file in which Linux says who is given large pages.
    """
    name, value = TUNABLES
    loaded = "jax" in sys.modules
    if loaded or name in os.environ or not sys.platform.startswith("linux") or not sys.executable:
        return
    try:
        libc, on_request = (
            os.confstr("CS_GNU_LIBC_VERSION"),
            "[madvise]" in setting.read_text(encoding="ascii"),
        )
    except (OSError, ValueError):
        # Another C library, or a container that hides the setting.
        return
    if libc and on_request:
        os.environ[name] = value
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
