/*
 * Starts ClickHouse as a server in this process, from the library that the
 * npm package ships.
 *
 *   CHDB_LIB=.../libchdb.so launcher --path DIR --http_port P --tcp_port P ...
 *
 * The library's entry point is clickhouse-local: it runs a query and ends. The
 * query opens the listeners and then reads standard input, a pipe into which
 * nobody writes; closing the pipe on SIGTERM ends the query and with it the
 * server, in order. An end that nobody asked for is a failure.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char QUERY[] =
    "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
    "SELECT count() FROM file('-', 'LineAsString', 'l String') FORMAT Null";

static int write_end;
static volatile sig_atomic_t asked_to_end;

static void on_signal(int number)
{
    (void)number;
    if (asked_to_end)
        _exit(1);
    asked_to_end = 1;
    close(write_end);
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* clickhouse-local sets handlers of its own while it starts, at no moment that
 * can be known, so ours are set again for a while. */
static void *keep_signals(void *unused)
{
    struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    for (int i = 0; i < 100; i++) {
        take_signals();
        nanosleep(&pause, NULL);
    }
    return unused;
}

static int fail(const char *what)
{
    const char *cause = dlerror();
    fprintf(stderr, "clickhouse launcher: %s: %s\n", what, cause ? cause : "no cause given");
    return 1;
}

int main(int argc, char **argv)
{
    const char *library = getenv("CHDB_LIB");
    void *handle = library ? dlopen(library, RTLD_NOW | RTLD_GLOBAL) : NULL;
    if (!handle)
        return fail("CHDB_LIB does not lead to libchdb.so");
    void *(*run)(int, char **) = (void *(*)(int, char **))dlsym(handle, "query_stable_v2");
    if (!run)
        return fail("libchdb.so has no query_stable_v2");

    /* A wide table has some thousand files, and the library raises no limit. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }

    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[0], STDIN_FILENO) < 0)
        return fail("no pipe");
    close(ends[0]);
    write_end = ends[1];
    take_signals();
    pthread_t keeper;
    if (pthread_create(&keeper, NULL, keep_signals, NULL) != 0)
        return fail("no thread");

    char **arguments = calloc((size_t)argc + 3, sizeof *arguments);
    if (!arguments)
        return fail("no memory");
    arguments[0] = "clickhouse";
    for (int i = 1; i < argc; i++)
        arguments[i] = argv[i];
    arguments[argc] = "--query";
    arguments[argc + 1] = (char *)QUERY;
    run(argc + 2, arguments);

    if (!asked_to_end)
        fprintf(stderr, "clickhouse launcher: the server ended unasked\n");
    /* Without destructors: the library's threads may still run. */
    fflush(NULL);
    _exit(asked_to_end ? 0 : 1);
}
