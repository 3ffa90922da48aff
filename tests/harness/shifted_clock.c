/* Shifts the time of day of a process that is started with this library as
 * LD_PRELOAD, by the milliseconds in a file. The monotonic clock is not changed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static long long shift_ms(void)
{
    static int file = -2;
    char text[32];
    ssize_t length;

    if (file == -2) {
        const char *path = getenv("CLOCK_SHIFT_FILE");
        file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    }
    if (file < 0)
        return 0;
    length = pread(file, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, clock, out);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long ms = shift_ms();
        out->tv_sec += ms / 1000;
        out->tv_nsec += (ms % 1000) * 1000000;
        if (out->tv_nsec >= 1000000000) {
            out->tv_sec += 1;
            out->tv_nsec -= 1000000000;
        } else if (out->tv_nsec < 0) {
            out->tv_sec -= 1;
            out->tv_nsec += 1000000000;
        }
    }
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static long long since(const struct timespec *at, clockid_t clock, long long shift)
{
    struct timespec now;
    long long ms;

    syscall(SYS_clock_gettime, clock, &now);
    ms = (at->tv_sec - now.tv_sec) * 1000LL - shift;
    return ms < 0 ? -ms : ms;
}

/* The kernel uses the true clock, so a deadline computed from the shifted one is
 * shifted back. */
static struct timespec meant(const struct timespec *end)
{
    struct timespec moved = *end;
    long long shift = shift_ms();
    long long wrong = since(end, CLOCK_REALTIME, shift);

    if (shift && wrong < since(end, CLOCK_REALTIME, 0) && wrong < since(end, CLOCK_MONOTONIC, 0))
        moved.tv_sec -= shift / 1000;
    return moved;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict end)
{
    typedef int wait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    static wait *real;
    struct timespec moved = meant(end);

    if (!real)
        real = (wait *)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real)
        real = (wait *)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return real(condition, mutex, &moved);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict end)
{
    typedef int wait(cnd_t *, mtx_t *, const struct timespec *);
    static wait *real;
    struct timespec moved = meant(end);

    if (!real)
        real = (wait *)dlsym(RTLD_NEXT, "cnd_timedwait");
    return real(condition, mutex, &moved);
}
