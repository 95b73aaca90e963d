/* Breaks one system call of the daemon, for tests: LD_PRELOAD, between the program and libc.
 *
 * ECHOSTORED_SHIM_BLOCK names a file of at least WORDS 64-bit words, shared by the test and every process of the daemon (see
 * `struct block`): the test arms, holds and sets the clock while the daemon runs, and reads what has happened.
 *
 * ECHOSTORED_SHIM is the rule, `ROLE:CALL:FAULT:K`:
 *   ROLE   supervisor, worker, writer, any (told by the process title; what starts is a supervisor)
 *   CALL   the function's name
 *   FAULT  the number of an errno; `short` (half of the bytes are done); `delay=MS`; `hang` (until the block says otherwise)
 *   K      the K-th such call of all processes of that role; 0: every one
 *
 * Whether or not there is a rule, a regular file whose sync has failed here is watched: another sync of it, or a write to
 * it, by any process, is a violation; a write only once the process can know, if the sync was another thread's. Cutting it
 * is not. Standard output and error are never touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WORDS 64
#define SUSPECTS 16
/* How long a thread that syncs may take to tell the one that writes. */
#define GRACE_MS 3000

/* The same words in tests/faults/shim.rs. */
struct block {
    _Atomic uint64_t armed;      /* the rule counts */
    _Atomic uint64_t calls;      /* calls that the rule is about */
    _Atomic uint64_t fired;      /* of them, broken */
    _Atomic uint64_t violations; /* uses of a file whose sync has failed */
    _Atomic int64_t clock;       /* seconds to add to CLOCK_REALTIME */
    _Atomic uint64_t released;   /* calls that hang go on */
    _Atomic uint64_t total;      /* calls of any kind, by anybody: a hot loop shows here */
    _Atomic uint64_t suspects;   /* how many of these are used */
    struct { _Atomic uint64_t device, inode, since; } suspect[SUSPECTS];
};
_Static_assert(sizeof(struct block) <= WORDS * sizeof(uint64_t), "the block fits its file");

enum kind { NOTHING, ERROR, SHORT, DELAY, HANG };

static struct {
    char role[16], call[24];
    enum kind kind;
    int number; /* errno, or milliseconds */
    uint64_t k;
} rule;
static struct block *block;
static char role[16] = "supervisor";

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Past ourselves: not through the `write` below. */
static void say(const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    syscall(SYS_write, 2, line, length);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ECHOSTORED_SHIM_BLOCK"), *text = getenv("ECHOSTORED_SHIM");
    char fault[16] = "";
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) return;
    void *place = (void *)syscall(SYS_mmap, NULL, sizeof *block, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (place == MAP_FAILED) return;
    block = place;
    if (!text) return;
    unsigned long k;
    if (sscanf(text, "%15[^:]:%23[^:]:%15[^:]:%lu", rule.role, rule.call, fault, &k) != 4) {
        say("shim: cannot read the rule %s\n", text);
        _exit(99);
    }
    rule.k = k;
    if (sscanf(fault, "delay=%d", &rule.number) == 1) rule.kind = DELAY;
    else if (!strcmp(fault, "hang")) rule.kind = HANG;
    else if (!strcmp(fault, "short")) rule.kind = SHORT;
    else rule.kind = ERROR, rule.number = atoi(fault);
}

/* Whether this call is the one. Delays and hangs happen in here; the caller does the rest. */
static enum kind strike(const char *call) {
    if (!block) return NOTHING;
    atomic_fetch_add(&block->total, 1);
    if (!rule.kind || !atomic_load(&block->armed) || strcmp(call, rule.call)) return NOTHING;
    if (strcmp(rule.role, "any") && strcmp(rule.role, role)) return NOTHING;
    uint64_t count = atomic_fetch_add(&block->calls, 1) + 1;
    if (rule.k && count != rule.k) return NOTHING;
    atomic_fetch_add(&block->fired, 1);
    if (rule.k) say("shim: %s %d: call %lu of %s is broken\n", role, (int)getpid(), (unsigned long)count, call);
    struct timespec span = {rule.number / 1000, rule.number % 1000 * 1000000L};
    if (rule.kind == DELAY) nanosleep(&span, NULL);
    while (rule.kind == HANG && !atomic_load(&block->released)) nanosleep(&(struct timespec){0, 1000000}, NULL);
    return rule.kind;
}

/* Fails the call if it is the one; for calls that have no half. */
#define BREAK(name, failed) \
    if (strike(#name) == ERROR) { errno = rule.number; return failed; }

static uint64_t now_ms(void) {
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000ull + time.tv_nsec / 1000000;
}

static int is_regular(int fd, struct stat *stat) { return !syscall(SYS_fstat, fd, stat) && S_ISREG(stat->st_mode); }

/* The place of a file among those whose sync has failed, or -1. */
static int place_of(int fd) {
    struct stat stat;
    if (!block || !atomic_load(&block->suspects) || !is_regular(fd, &stat)) return -1;
    for (int i = 0; i < SUSPECTS; i++)
        if (block->suspect[i].device == stat.st_dev && block->suspect[i].inode == stat.st_ino) return i;
    return -1;
}

static void watch(const char *call, int fd, int writes) {
    int saved = errno, at = place_of(fd);
    if (at >= 0 && (!writes || now_ms() >= block->suspect[at].since)) {
        atomic_fetch_add(&block->violations, 1);
        say("shim: VIOLATION: %s %d: %s of a file whose sync has failed\n", role, (int)getpid(), call);
    }
    errno = saved;
}

/* A sync has failed. EINTR is no failure: nothing was tried. */
static void suspect(int fd) {
    struct stat stat;
    if (rule.number == EINTR || !is_regular(fd, &stat)) return;
    uint64_t at = atomic_fetch_add(&block->suspects, 1) % SUSPECTS;
    block->suspect[at].device = stat.st_dev;
    block->suspect[at].inode = stat.st_ino;
    block->suspect[at].since = now_ms() + (gettid() == getpid() ? 0 : GRACE_MS);
}

/* A new file may get the inode number of one that is gone. */
static int created(int fd, int flags) {
    int saved = errno, at = fd >= 0 && flags & O_EXCL ? place_of(fd) : -1;
    if (at >= 0) block->suspect[at].inode = 0;
    errno = saved;
    return fd;
}

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        watch(#name, fd, 0); \
        if (strike(#name) == ERROR) { suspect(fd); errno = rule.number; return -1; } \
        return real(fd); \
    }
SYNC(fdatasync)
SYNC(fsync)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    if (fd == 1 || fd == 2) return real(fd, bytes, count);
    watch("write", fd, 1);
    switch (strike("write")) {
    case ERROR: errno = rule.number; return -1;
    case SHORT: return real(fd, bytes, count > 1 ? count / 2 : count);
    default: return real(fd, bytes, count);
    }
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    watch("pwrite64", fd, 1);
    switch (strike("pwrite64")) {
    case ERROR: errno = rule.number; return -1;
    case SHORT: return real(fd, bytes, count > 1 ? count / 2 : count, at);
    default: return real(fd, bytes, count, at);
    }
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    watch("pwritev", fd, 1);
    enum kind kind = strike("pwritev");
    if (kind == ERROR) { errno = rule.number; return -1; }
    if (kind == SHORT && count > 1) return real(fd, parts, count / 2, at);
    if (kind == SHORT && parts->iov_len > 1) {
        struct iovec half = {parts->iov_base, parts->iov_len / 2};
        return real(fd, &half, 1, at);
    }
    return real(fd, parts, count, at);
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    REAL(send);
    switch (strike("send")) {
    case ERROR: errno = rule.number; return -1;
    case SHORT: return real(fd, bytes, count > 1 ? count / 2 : count, flags);
    default: return real(fd, bytes, count, flags);
    }
}

ssize_t splice(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    REAL(splice);
    switch (strike("splice")) {
    case ERROR: errno = rule.number; return -1;
    case SHORT: return real(in, from, out, to, count > 1 ? count / 2 : count, flags);
    default: return real(in, from, out, to, count, flags);
    }
}

/* `mode` is there only with O_CREAT, and then it is an int. */
#define MODE(mode) \
    va_list arguments; \
    va_start(arguments, flags); \
    int mode = flags & O_CREAT ? va_arg(arguments, int) : 0; \
    va_end(arguments)

int openat(int directory, const char *name, int flags, ...) {
    REAL(openat);
    MODE(mode);
    BREAK(openat, -1)
    return created(real(directory, name, flags, mode), flags);
}

int open64(const char *name, int flags, ...) {
    REAL(open64);
    MODE(mode);
    BREAK(open64, -1)
    return created(real(name, flags, mode), flags);
}

int open(const char *name, int flags, ...) {
    REAL(open);
    MODE(mode);
    BREAK(open, -1)
    return created(real(name, flags, mode), flags);
}

int fcntl(int fd, int command, ...) {
    REAL(fcntl);
    va_list arguments;
    va_start(arguments, command);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    BREAK(fcntl, -1)
    return real(fd, command, argument);
}

/* The title tells the role: "echo writer", "echo worker 1". */
int prctl(int option, ...) {
    REAL(prctl);
    va_list arguments;
    va_start(arguments, option);
    unsigned long a = va_arg(arguments, unsigned long), b = va_arg(arguments, unsigned long);
    unsigned long c = va_arg(arguments, unsigned long), d = va_arg(arguments, unsigned long);
    va_end(arguments);
    if (option == PR_SET_NAME) sscanf((const char *)a, "echo %15s", role);
    BREAK(prctl, -1)
    return real(option, a, b, c, d);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int result = real(clock, time);
    if (block && clock == CLOCK_REALTIME) time->tv_sec += atomic_load(&block->clock);
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    REAL(pthread_create);
    if (strike("pthread_create") == ERROR) return rule.number;
    return real(thread, attributes, body, argument);
}

void *mmap(void *place, size_t length, int protection, int flags, int fd, off_t offset) {
    REAL(mmap);
    if (flags & MAP_SHARED) BREAK(mmap, MAP_FAILED)
    return real(place, length, protection, flags, fd, offset);
}

/* The kernel always can stop watching. */
int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    REAL(epoll_ctl);
    if (what != EPOLL_CTL_DEL) BREAK(epoll_ctl, -1)
    return real(epoll, what, fd, event);
}

/* Calls that just fail. */
#define PLAIN(type, name, parameters, arguments) \
    type name parameters { \
        REAL(name); \
        BREAK(name, -1) \
        return real arguments; \
    }
PLAIN(int, accept, (int fd, struct sockaddr *peer, socklen_t *length), (fd, peer, length))
PLAIN(int, epoll_create1, (int flags), (flags))
PLAIN(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int wait), (epoll, events, most, wait))
PLAIN(int, eventfd, (unsigned count, int flags), (count, flags))
PLAIN(int, fchmod, (int fd, mode_t mode), (fd, mode))
PLAIN(pid_t, fork, (void), ())
PLAIN(int, fstat, (int fd, struct stat *stat), (fd, stat))
PLAIN(int, fstatat, (int a, const char *name, struct stat *stat, int flags), (a, name, stat, flags))
PLAIN(int, ftruncate, (int fd, off_t length), (fd, length))
PLAIN(int, ftruncate64, (int fd, off64_t length), (fd, length))
PLAIN(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
PLAIN(int, memfd_create, (const char *name, unsigned flags), (name, flags))
PLAIN(int, pipe2, (int fds[2], int flags), (fds, flags))
PLAIN(ssize_t, pread64, (int fd, void *bytes, size_t count, off64_t at), (fd, bytes, count, at))
PLAIN(ssize_t, read, (int fd, void *bytes, size_t count), (fd, bytes, count))
PLAIN(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
PLAIN(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
PLAIN(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
PLAIN(int, socketpair, (int domain, int type, int protocol, int pair[2]), (domain, type, protocol, pair))
PLAIN(int, statx, (int a, const char *name, int flags, unsigned mask, struct statx *stat), (a, name, flags, mask, stat))
PLAIN(ssize_t, tee, (int in, int out, size_t count, unsigned flags), (in, out, count, flags))
PLAIN(int, unlinkat, (int directory, const char *name, int flags), (directory, name, flags))
