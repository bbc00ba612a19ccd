"""Child process of `sandbox` (`python -I sandbox_process.py`): one program from stdin, kernel-confined.

Before the program starts, the process gives up for good: memory and processor time beyond a limit, files to
write, other processes, and every system call that is not on a short list. There is no socket, fork, exec,
kill or unlink on it, and files open for reading only: where the kernel has Landlock (Linux 5.13), those of
the process's own folder and of the interpreter alone. The kernel enforces this (rlimits, Landlock, seccomp),
so it holds whatever the program does to Python. Linux on x86-64 and arm64.

stdin: one JSON object with `program`, `memory_bytes`, `seconds`, and `token`, a word that goes to the file
descriptor `report` when the program has run to its end: one that exits early has not passed. (A program
written to look as if it passed could: it shares its process with its tests.)
"""

import ctypes
import errno
import json
import os
import platform
import resource
import struct
import sys

LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
"""Instructions of the kernel's filters: load a word, jump if equal, bitwise and, return."""

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
"""What a filter returns. `REFUSE` carries an error number."""

NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Where a filter finds the call's number, the machine it is made on, and its arguments of 8 bytes each."""

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # the kernel's names of the machines

CALLS = {
    "x86_64": """
        read=0 write=1 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
        rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 pread64=17 readv=19 access=21 sched_yield=24
        mremap=25 madvise=28 nanosleep=35 getpid=39 exit=60 uname=63 getcwd=79 readlink=89 gettimeofday=96
        getrlimit=97 getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 geteuid=107 getegid=108
        getppid=110 sigaltstack=131 gettid=186 futex=202 sched_getaffinity=204 getdents64=217
        restart_syscall=219 clock_gettime=228 clock_getres=229 clock_nanosleep=230 exit_group=231
        newfstatat=262 readlinkat=267 faccessat=269 getrandom=318 statx=332 rseq=334 faccessat2=439
    """,
    "aarch64": """
        getcwd=17 faccessat=48 close=57 getdents64=61 lseek=62 read=63 write=64 readv=65 pread64=67 ppoll=73
        readlinkat=78 newfstatat=79 fstat=80 exit=93 exit_group=94 futex=98 nanosleep=101 clock_gettime=113
        clock_getres=114 clock_nanosleep=115 sched_getaffinity=123 sched_yield=124 restart_syscall=128
        sigaltstack=132 rt_sigaction=134 rt_sigprocmask=135 rt_sigreturn=139 times=153 uname=160
        getrlimit=163 getrusage=165 gettimeofday=169 getpid=172 getppid=173 getuid=174 geteuid=175
        getgid=176 getegid=177 gettid=178 sysinfo=179 brk=214 munmap=215 mremap=216 mmap=222 mprotect=226
        madvise=233 getrandom=278 statx=291 rseq=293 faccessat2=439
    """,
}
"""What Python needs to compute, import and end."""

OPENING = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
"""`open` and `openat`: number of the call, and which argument holds the flags."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000
"""Flags of files that are not only read; the last is O_TMPFILE's."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, the same on all machines

EVERY_ACCESS = (1 << 13) - 1
READ_ACCESS = 1 << 2 | 1 << 3
"""Landlock's rights on files: all those of its first version; to read files and list folders."""

NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2

Instruction = tuple[int, int, int, int]  # operation, how far to jump when true and when false, operand


def main() -> None:
    job = json.load(sys.stdin)
    limit(job["memory_bytes"], job["seconds"])
    hide_files([".", *interpreter()])
    confine()
    exec(compile(job["program"], "program", "exec"), {"__name__": "__main__"})  # noqa: S102 - what this file is for, confined
    os.write(job["report"], job["token"].encode())


def limit(memory: int, seconds: float) -> None:
    """Memory in bytes and processor time; nothing written to files, no processes, no core dump."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (most, most))


def interpreter() -> list[str]:
    """The folders of Python's own library, and of the shared libraries in this process."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123 - few imports
        mapped = [line.split(maxsplit=5)[-1].strip() for line in maps if "/" in line]
    shared = {os.path.dirname(file) for file in mapped if ".so" in os.path.basename(file)}  # noqa: PTH119, PTH120
    return sorted({*shared, *filter(os.path.isdir, sys.path)})


def hide_files(readable: list[str]) -> None:
    """Refuse to open files but those in some folders, from now on; a kernel without Landlock hides none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1) < 1:
        return
    handled = struct.pack("=Q", EVERY_ACCESS)
    rules = libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    for folder in readable:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        if libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", READ_ACCESS, place), 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock takes no rule")
        os.close(place)
    if libc.prctl(*(ctypes.c_ulong(value) for value in (NO_NEW_PRIVILEGES, 1, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not confine processes")
    if rules < 0 or libc.syscall(RESTRICT_SELF, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock does not take hold")
    os.close(rules)


def confine() -> None:
    """Refuse all system calls but those listed, from now on and beyond recall."""
    program = rules(platform.machine())
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    kept = ctypes.create_string_buffer(code)
    filters = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(kept)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SECCOMP, FILTER, ctypes.addressof(filters), 0, 0)):
        if libc.prctl(*(ctypes.c_ulong(value) for value in call)) != 0:
            raise OSError(ctypes.get_errno(), "the kernel does not confine processes (seccomp)")


def rules(machine: str) -> list[Instruction]:
    """The filter: calls of another machine's kind kill, those on the list pass, all others are refused."""
    refuse: Instruction = (RETURN, 0, 0, REFUSE | errno.EPERM)
    allow: Instruction = (RETURN, 0, 0, ALLOW)
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, AUDIT[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    for entry in CALLS[machine].split():
        program += [(EQUAL, 0, 1, int(entry.partition("=")[2])), allow]
    for number, flags in OPENING[machine]:
        read_flags = (LOAD, 0, 0, ARGUMENTS + 8 * flags)
        program += [(EQUAL, 0, 5, number), read_flags, (AND, 0, 0, WRITING), (EQUAL, 0, 1, 0), allow, refuse]
    return [*program, refuse]


if __name__ == "__main__":
    main()
