"""What the sandbox's process runs first: it gives up its rights and becomes the Python that reads the code.

Only the standard library, and no import of ours: the sandbox hands this file's text to ``python -I -S -c``.
Arguments: CPU seconds, bytes of memory, bytes of a file, processes, the temporary folder, folders to read.
Landlock (Linux 5.13 and later, docs.kernel.org/userspace-api/landlock) takes away every file but those of
the interpreter and of the temporary folder, and TCP where the kernel is of version 6.7 or later; without it no
file can be filled at all.
"""

import ctypes
import os
import resource
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
NO_NEW_PRIVILEGES = 38
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
DEVICES = ("/dev/null", "/dev/urandom")


class Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict_files(system: ctypes.CDLL, writable: str, readable: list[str]) -> bool:
    """Whether the kernel took everything away but `writable`, and reading of `readable`."""
    version = system.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    everything = ALL_BY_VERSION[min(version, 5)]
    rules = Ruleset(everything, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = system.syscall(CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return False
    allowed = [(path, READ) for path in readable]
    allowed += [(path, READ | 1 << 1) for path in DEVICES]
    for path, rights in [*allowed, (writable, everything)]:
        if not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            rights &= ON_FILES
        beneath = Beneath(rights & everything, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        if system.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(beneath), 0):
            return False
    return bool(system.syscall(RESTRICT_SELF, ruleset, 0) == 0)


def main() -> None:
    cpu_seconds, memory, file_size, processes = map(int, sys.argv[1:5])
    folder, readable = sys.argv[5], sys.argv[6:]
    os.chdir(folder)
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if not restrict_files(system, folder, readable):
        file_size = 0
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-"], {"PYTHONHASHSEED": "0"})


if __name__ == "__main__":
    main()
