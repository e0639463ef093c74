/* A disk that refuses: loaded into the daemon by LD_PRELOAD, it lets the calls that change the state directory fail as
 * the kernel would. Which fault is on stands in the file that $FAULTY_DISK names, and may change at any time.
 *
 *   full      nothing of the database or its log can be written; what is overwritten in place elsewhere can
 *   readonly  nothing can be written at all
 *   failing   what was written cannot be made durable: fsync fails
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fault_is(const char *name) {
    char said[16] = "";
    const char *where = getenv("FAULTY_DISK");
    int file = where ? (int)syscall(SYS_openat, AT_FDCWD, where, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (file < 0) return 0;
    if (syscall(SYS_read, file, said, sizeof said - 1) < 0) said[0] = 0;
    close(file);
    return strcmp(said, name) == 0;
}

/* Whether the file is one of the database's; its shared memory (-shm) is on no disk. */
static int is_ours(int file, const char **name) {
    static __thread char path[PATH_MAX];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    *name = strstr(path, "/keyfob.db");
    return *name != NULL && strcmp(*name, "/keyfob.db-shm") != 0;
}

static int refuses_write(int file, off_t end) {
    const char *name;
    struct stat found;
    if (!is_ours(file, &name)) return 0;
    if (fault_is("readonly")) return errno = EROFS, 1;
    if (!fault_is("full")) return 0;
    if (strcmp(name, "/keyfob.db") != 0 && strcmp(name, "/keyfob.db-wal") != 0 && fstat(file, &found) == 0 &&
        end <= found.st_size)
        return 0;
    return errno = ENOSPC, 1;
}

static int refuses_sync(int file) {
    const char *name;
    return is_ours(file, &name) && fault_is("failing") ? (errno = EIO, 1) : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    return refuses_write(file, lseek(file, 0, SEEK_CUR) + (off_t)size) ? -1 : REAL(write)(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return refuses_write(file, at + (off_t)size) ? -1 : REAL(pwrite)(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    return refuses_write(file, at + (off_t)size) ? -1 : REAL(pwrite64)(file, data, size, at);
}

int ftruncate(int file, off_t size) { return refuses_write(file, 0) ? -1 : REAL(ftruncate)(file, size); }

int ftruncate64(int file, off64_t size) { return refuses_write(file, 0) ? -1 : REAL(ftruncate64)(file, size); }

int fsync(int file) { return refuses_sync(file) ? -1 : REAL(fsync)(file); }

int fdatasync(int file) { return refuses_sync(file) ? -1 : REAL(fdatasync)(file); }
