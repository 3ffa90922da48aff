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
 *
 * clickhouse-local lets every user of SQL read every file, so the process
 * shuts itself in (Landlock) before it starts: it can open files of its working
 * directory, where its data must be, and what a C library needs. Of /proc only
 * what is about itself: the environment of a neighbour may hold a token.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#endif

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

#ifdef LANDLOCK_ACCESS_FS_REFER
enum {
    READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    CHANGE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
             LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM |
             LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SOCK |
             LANDLOCK_ACCESS_FS_REFER,
    OF_A_FILE = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
};

/* What is not there needs no rule. */
static void let_open(int rules, const char *path, unsigned access)
{
    struct stat status;
    struct landlock_path_beneath_attr rule = {.parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return;
    rule.allowed_access = access;
    if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
        rule.allowed_access &= OF_A_FILE;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        perror(path);
    close(rule.parent_fd);
}

/* Whether the process is now shut in. */
static int shut_in(const char *library)
{
    static const char *const NEEDED[] = {
        "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/sys",
        "/proc/cpuinfo", "/proc/filesystems", "/proc/loadavg", "/proc/meminfo", "/proc/self",
        "/proc/stat", "/proc/sys", "/proc/uptime",
        "/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/ld.so.cache", "/etc/localtime",
        "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/ssl", "/etc/timezone",
    };
    /* Version 1 cannot allow renames between folders, which merges need. */
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
        return 0;
    struct landlock_ruleset_attr handled = {.handled_access_fs = READ | CHANGE};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    char resolved[PATH_MAX];
    if (rules < 0 || !realpath(library, resolved))
        return 0;
    let_open(rules, dirname(resolved), READ);
    let_open(rules, ".", READ | CHANGE);
    let_open(rules, "/dev", READ | LANDLOCK_ACCESS_FS_WRITE_FILE);
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++)
        let_open(rules, NEEDED[i], READ);
    int done = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return done;
}
#else
static int shut_in(const char *library)
{
    (void)library;
    return 0;
}
#endif

int main(int argc, char **argv)
{
    const char *library = getenv("CHDB_LIB");
    if (library && !shut_in(library))
        fprintf(stderr, "clickhouse launcher: this kernel cannot shut the server in (Landlock): "
                        "users of SQL can read the files of this user\n");
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
