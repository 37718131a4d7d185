/* SPDX-License-Identifier: MIT */
/*
 * Tests of the tree server and weft_tree_fetch: who answers, who may ask, what of a loop that does
 * not answer, and that nothing is left behind.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/tree.h>

#include "rt_kit.h"
#include "sys/call.h"

#define PATH_BYTES 108

static const char *driver_name;
static char directory[64]; /* XDG_RUNTIME_DIR */

static struct weft_options seen(const char *name)
{
    return (struct weft_options){.driver = driver_name, .visible = true, .name = name};
}

struct text {
    char *data;
    size_t len, pieces;
};

static void collect(void *arg, const char *piece, size_t len)
{
    struct text *t = arg;
    t->data = realloc(t->data, t->len + len + 1);
    CHECK(t->data != NULL);
    memcpy(t->data + t->len, piece, len);
    t->len += len;
    t->pieces++;
    t->data[t->len] = '\0';
}

static char *fetch(unsigned flags)
{
    struct text t = {NULL, 0, 0};
    CHECK_EQ(weft_tree_fetch((int)getpid(), flags, collect, &t, weft_after_s(60)), 0);
    CHECK(t.data != NULL);
    return t.data;
}

static void expect(const char *text, const char *word)
{
    if (strstr(text, word) == NULL)
        (void)fprintf(stderr, "no '%s' in:\n%s", word, text);
    CHECK(strstr(text, word) != NULL);
}

static void socket_path(char *path, size_t cap)
{
    (void)snprintf(path, cap, "%s/weft/%d.sock", directory, (int)getpid());
}

/* --- A loop on a thread of its own ------------------------------------------------------------ */

struct other {
    pthread_t thread;
    struct weft_options options;
    weft_fn body;
    _Atomic(struct weft_loop *) loop; /* NULL until it runs */
    struct weft_event *stop;          /* the body's: set on its loop */
};

static int other_main(void *arg)
{
    struct other *o = arg;
    struct weft_event stop = {0};
    o->stop = &stop;
    atomic_store(&o->loop, weft_loop_current());
    int err = o->body != NULL ? o->body(o) : 0;
    CHECK_EQ(weft_event_wait(&stop, WEFT_NEVER), 0);
    return err;
}

static void *other_thread(void *arg)
{
    struct other *o = arg;
    CHECK_EQ(weft_run(&o->options, other_main, o), 0);
    return NULL;
}

static void other_start(struct other *o)
{
    CHECK_EQ(pthread_create(&o->thread, NULL, other_thread, o), 0);
    while (atomic_load(&o->loop) == NULL)
        sched_yield();
}

static void set_event(void *arg)
{
    weft_event_set(arg);
}

static void other_stop(struct other *o)
{
    CHECK_EQ(weft_post_mt(atomic_load(&o->loop), set_event, o->stop), 0);
    CHECK_EQ(pthread_join(o->thread, NULL), 0);
}

/* --- Answers ---------------------------------------------------------------------------------- */

static int asks_itself(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "sleeper", kit_sleep_long, NULL);
    char *text = fetch(0);
    expect(text, "loop mine (");
    expect(text, "task sleeper #2 (");
    /* The task that asks. Told of the first bytes of an answer it is ready, in a few cases. */
    for (int i = 0; i < 100 && strstr(text, "task main #1 (weft_run) ready") != NULL; i++) {
        free(text);
        text = fetch(0);
    }
    expect(text, "task main #1 (weft_run) waits in read fd ");
    free(text);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

static void in_task_and_on_thread(const char *driver)
{
    driver_name = driver;
    struct weft_options o = seen("mine");
    CHECK_EQ(weft_run(&o, asks_itself, NULL), 0);

    struct other a = {.options = seen("first")}, b = {.options = seen("second")};
    other_start(&a);
    other_start(&b);
    char *text = fetch(WEFT_TREE_BACKTRACE);
    expect(text, "loop first (");
    expect(text, "loop second (");
    expect(text, "task main #1 (weft_run) waits in event");
    expect(text, "\n    at ");
    free(text);
    other_stop(&a);
    text = fetch(0);
    CHECK(strstr(text, "loop first (") == NULL);
    expect(text, "loop second (");
    free(text);
    other_stop(&b);
}

static int no_answer(void *arg)
{
    struct text t = {NULL, 0, 0};
    (void)arg;
    CHECK_EQ(weft_tree_fetch((int)getpid(), 0, collect, &t, WEFT_NEVER), -ENOENT);
    CHECK_EQ(weft_tree_fetch(0x7ffffff0, 0, collect, &t, WEFT_NEVER), -ENOENT);
    CHECK_EQ(weft_tree_fetch(-1, 0, collect, &t, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_tree_fetch(1, 0, NULL, NULL, WEFT_NEVER), -EINVAL);
    CHECK_EQ(t.len, 0);
    return 0;
}

static void nobody_there(const char *driver)
{
    struct weft_options o = {.driver = driver}; /* not visible */
    CHECK_EQ(no_answer(NULL), 0);
    CHECK_EQ(weft_run(&o, no_answer, NULL), 0);
}

static void fetch_in_callback(void *arg)
{
    CHECK_EQ(weft_tree_fetch((int)getpid(), 0, collect, arg, WEFT_NEVER), -EDEADLK);
}

static int refused_in_callback(void *arg)
{
    struct text t = {NULL, 0, 0};
    (void)arg;
    kit_as_callback(fetch_in_callback, &t);
    return 0;
}

static void waits_like_every_call(const char *driver)
{
    driver_name = driver;
    struct weft_options o = seen("mine");
    CHECK_EQ(weft_run(&o, refused_in_callback, NULL), 0);
}

/* --- Who may ask ------------------------------------------------------------------------------ */

static int connect_raw(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socket_path(sa.sun_path, sizeof sa.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* Sends something else than a request: the other side hangs up, and answers the next. */
static void say(const char *words, size_t len)
{
    char byte;
    int fd = connect_raw();
    CHECK_EQ(send(fd, words, len, MSG_NOSIGNAL), len);
    ssize_t n = recv(fd, &byte, 1, 0);
    CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
    (void)close(fd);
}

static void ask_as_somebody_else(void)
{
    struct text t = {NULL, 0, 0};
    int status, parent = (int)getpid();
    if (geteuid() != 0 || KIT_SANITIZED)
        return;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        bool changed = setgid(65534) == 0 && setuid(65534) == 0;
        _exit(changed && weft_tree_fetch(parent, 0, collect, &t, WEFT_NEVER) == -EACCES ? 0 : 3);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void closed_to_others(const char *driver)
{
    char path[PATH_BYTES];
    struct stat st;
    driver_name = driver;
    struct other o = {.options = seen("mine")};
    mode_t before = umask(0);
    other_start(&o);
    socket_path(path, sizeof path);
    CHECK_EQ(lstat(path, &st), 0);
    CHECK(S_ISSOCK(st.st_mode));
    CHECK_EQ(st.st_mode & 07777, 0600);
    *strrchr(path, '/') = '\0';
    CHECK_EQ(lstat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0700);
    (void)umask(before);
    ask_as_somebody_else();

    char noise[200];
    memset(noise, 'x', sizeof noise);
    say(noise, sizeof noise);
    say("GET / HTTP/1.0\r\n\r\n", 18);
    say("weft-tree 2 0\n", 14);
    int silent = connect_raw(); /* has a second, no more */
    free(fetch(0));
    (void)close(silent);
    other_stop(&o);
    socket_path(path, sizeof path);
    CHECK(lstat(path, &st) < 0 && errno == ENOENT);
}

/* --- Where the socket is ---------------------------------------------------------------------- */

struct log {
    int lines;
    char last[512];
};

static void keep_line(void *arg, enum weft_log_level level, const char *text)
{
    struct log *l = arg;
    CHECK_EQ(level, WEFT_LOG_WARNING);
    l->lines++;
    (void)snprintf(l->last, sizeof l->last, "%s", text);
}

static int asks_for_words(void *arg)
{
    char *text = fetch(0);
    expect(text, arg);
    free(text);
    return 0;
}

static void refuses_open_directories(const char *driver)
{
    char path[PATH_BYTES];
    struct log log = {0};
    driver_name = driver;
    socket_path(path, sizeof path);
    *strrchr(path, '/') = '\0';
    CHECK_EQ(chmod(path, 0755), 0); /* left by the tests before */
    struct weft_options o = seen("elsewhere");
    o.log = keep_line;
    o.log_arg = &log;
    CHECK_EQ(weft_run(&o, asks_for_words, "loop elsewhere ("), 0); /* in /tmp */
    CHECK_EQ(log.lines, 0);

    CHECK_EQ(rmdir(path), 0);
    CHECK_EQ(symlink(directory, path), 0); /* somebody points us elsewhere */
    CHECK_EQ(weft_run(&o, asks_for_words, "loop elsewhere ("), 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(weft_run(&o, asks_for_words, "loop elsewhere ("), 0); /* made again */
}

static void survives_a_stale_file(const char *driver)
{
    char path[PATH_BYTES];
    driver_name = driver;
    socket_path(path, sizeof path);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    (void)snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    (void)close(fd);
    CHECK_EQ(no_answer(NULL), 0);
    struct weft_options o = seen("mine");
    CHECK_EQ(weft_run(&o, asks_for_words, "loop mine ("), 0);
}

/* --- A loop that does not answer -------------------------------------------------------------- */

static _Atomic bool let_go, holding;

static int hog(void *arg)
{
    (void)arg;
    atomic_store(&holding, true);
    while (!atomic_load(&let_go))
        sched_yield();
    return 0;
}

static int start_hog(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_group_go_at(g, "hog", hog, NULL, "hog.c:7"), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static void names_who_holds_it(const char *driver)
{
    driver_name = driver;
    atomic_store(&let_go, false);
    atomic_store(&holding, false);
    struct other held = {.options = seen("held"), .body = start_hog};
    struct other well = {.options = seen("well")};
    other_start(&well);
    other_start(&held);
    while (!atomic_load(&holding))
        sched_yield();
    char *text = fetch(0);
    expect(text, "loop held does not answer: task hog (hog.c:7) holds it for ");
    expect(text, "loop well (");
    free(text);
    atomic_store(&let_go, true); /* the question is still posted, and finds nobody who asks */
    text = fetch(0);
    expect(text, "loop held (");
    free(text);
    other_stop(&held);
    other_stop(&well);
}

static void knows_when_nobody_runs_it(const char *driver)
{
    struct weft_loop *l = NULL;
    driver_name = driver;
    struct weft_options o = seen("driven");
    CHECK_EQ(weft_loop_open(&l, &o), 0);
    char *text = fetch(0);
    expect(text, "loop driven is not being run");
    free(text);
    CHECK(weft_loop_step(l, WEFT_NOW) >= 0);
    weft_loop_close(&l);
}

/* --- Loops that come and go while they are asked ---------------------------------------------- */

static _Atomic bool enough;

static void *ask_again_and_again(void *arg)
{
    while (!atomic_load(&enough)) {
        struct text t = {NULL, 0, 0};
        int err =
            weft_tree_fetch((int)getpid(), WEFT_TREE_BACKTRACE, collect, &t, weft_after_s(60));
        /* The thread may end before it has answered. */
        CHECK(err == 0 || err == -ENOENT || err == WEFT_EEOF || err == -ECONNRESET ||
              err == -EPIPE);
        free(t.data);
        atomic_fetch_add((_Atomic int *)arg, 1);
    }
    return NULL;
}

static int some_tasks(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 5; i++)
        kit_go(g, "task", kit_sleep_long, NULL);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(weft_yield(), 0);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

static void comes_and_goes(const char *driver)
{
    _Atomic int asked = 0;
    pthread_t asker;
    driver_name = driver;
    struct weft_options o = seen("short");
    atomic_store(&enough, false);
    CHECK_EQ(pthread_create(&asker, NULL, ask_again_and_again, &asked), 0);
    for (int i = 0; i < (KIT_SLOW ? 50 : 500) || atomic_load(&asked) < 50; i++)
        CHECK_EQ(weft_run(&o, some_tasks, NULL), 0);
    atomic_store(&enough, true);
    CHECK_EQ(pthread_join(asker, NULL), 0);
}

/* --- Too much --------------------------------------------------------------------------------- */

#define MANY 36000

static int has_many_tasks(void *arg)
{
    struct weft_group *g = kit_group();
    char name[450];
    (void)arg;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < MANY; i++)
        kit_go(g, name, kit_sleep_long, NULL);
    char *text = fetch(0);
    size_t len = strlen(text);
    CHECK(len > 16000000 && len < (16 << 20) + 1000);
    CHECK(strcmp(text + len - 30, "... cut: the tree is too long\n") == 0);
    free(text);
    weft_group_cancel(g);
    return weft_group_close(&g);
}

static void cuts_what_is_too_long(const char *driver)
{
    driver_name = driver;
    struct weft_options o = seen("many");
    if (!KIT_SLOW)
        CHECK_EQ(weft_run(&o, has_many_tasks, NULL), 0);
}

/* --- SIGQUIT ---------------------------------------------------------------------------------- */

static void (*disposition(void))(int)
{
    struct sigaction sa;
    CHECK_EQ(sigaction(SIGQUIT, NULL, &sa), 0);
    return sa.sa_handler;
}

static void prints_on_sigquit(const char *driver)
{
    if (RUNNING_ON_VALGRIND)
        skip(); /* it takes the thread's stack, after tasks' stacks, for too small for a signal */
    char text[8192] = "";
    size_t len = 0;
    int ends[2], err_fd = dup(STDERR_FILENO);
    driver_name = driver;
    struct other a = {.options = seen("quits")}, b = {.options = seen("too")};
    a.options.visible = false; /* implied */
    a.options.sigquit_tree = b.options.sigquit_tree = true;
    CHECK(disposition() == SIG_DFL);
    CHECK_EQ(pipe(ends), 0);
    other_start(&a);
    other_start(&b);
    CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    CHECK_EQ(kill(getpid(), SIGQUIT), 0);
    while (strstr(text, "loop quits (") == NULL || strstr(text, "loop too (") == NULL) {
        ssize_t n = read(ends[0], text + len, sizeof text - len - 1);
        CHECK(n > 0);
        len += (size_t)n;
        text[len] = '\0';
    }
    CHECK_EQ(dup2(err_fd, STDERR_FILENO), STDERR_FILENO);
    CHECK(strstr(text, "weft: the tree of process ") == text);
    expect(text, "at ");
    (void)close(err_fd);
    other_stop(&a);
    CHECK(disposition() != SIG_DFL);
    other_stop(&b);
    CHECK(disposition() == SIG_DFL);
    (void)close(ends[0]);
    (void)close(ends[1]);

    /* Somebody's own handler that came later is left alone. */
    struct weft_loop *l = NULL;
    struct weft_options o = seen("mine");
    o.sigquit_tree = true;
    CHECK_EQ(weft_loop_open(&l, &o), 0);
    CHECK(signal(SIGQUIT, SIG_IGN) != SIG_ERR);
    weft_loop_close(&l);
    CHECK(disposition() == SIG_IGN);
    CHECK(signal(SIGQUIT, SIG_DFL) == SIG_IGN);
}

/* --- Forks and failures ----------------------------------------------------------------------- */

static void a_fork_begins_anew(const char *driver)
{
    /* Sanitizers, and qemu's user mode, which says yes to every advice, follow no threads into
     * forks. */
    if (KIT_SANITIZED || madvise((void *)65536, 0, 0x7fff) == 0)
        return;
    int status;
    driver_name = driver;
    struct other o = {.options = seen("parent")};
    o.options.sigquit_tree = true;
    other_start(&o);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (disposition() != SIG_DFL)
            _exit(3);
        CHECK_EQ(no_answer(NULL), 0);
        struct weft_options mine = seen("child");
        CHECK_EQ(weft_run(&mine, asks_for_words, "loop child ("), 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(asks_for_words("loop parent ("), 0);
    other_stop(&o);
}

/* Each call that may fail does: the loop opens or not, and leaves nothing. Without a place for the
 * socket it runs unseen, and says so. */
static void fails_as_a_whole(const char *driver)
{
    struct log log = {0};
    char path[PATH_BYTES];
    driver_name = driver;
    socket_path(path, sizeof path);
    *strrchr(path, '/') = '\0';
    CHECK_EQ(chmod(path, 0755), 0); /* so that there is one place only */
    struct weft_options o = seen("mine");
    o.watchdog_ms = 1000;
    o.sigquit_tree = o.report_overflow = true;
    o.log = keep_line;
    o.log_arg = &log;
    uint64_t n = 1;
    for (bool reached = true; reached && n < 1000; n++) {
        struct weft_loop *l = NULL;
        weft__fault_at(n, ENFILE);
        int err = weft_loop_open(&l, &o);
        reached = weft__fault_count() >= n;
        weft__fault_at(0, 0);
        CHECK(err == 0 || err == -ENFILE || err == -ENOSYS);
        weft_loop_close(&l);
        CHECK(disposition() == SIG_DFL);
    }
    CHECK(n > 8 && n < 1000);
    CHECK_EQ(log.lines, 4); /* directory, socket, bind, listen */
    expect(log.last, "`weft tree` has no socket: cannot listen at /tmp/weft-");
    CHECK_EQ(chmod(path, 0700), 0);
}

static const struct kit_case cases[] = {
    ON_THREAD(in_task_and_on_thread),    ON_THREAD(nobody_there),
    ON_THREAD(waits_like_every_call),    ON_THREAD(closed_to_others),
    ON_THREAD(refuses_open_directories), ON_THREAD(survives_a_stale_file),
    ON_THREAD(names_who_holds_it),       ON_THREAD(knows_when_nobody_runs_it),
    ON_THREAD(comes_and_goes),           ON_THREAD(prints_on_sigquit),
    ON_THREAD(cuts_what_is_too_long),    ON_THREAD(a_fork_begins_anew),
    ON_THREAD(fails_as_a_whole),
};

int main(void)
{
    char path[PATH_BYTES];
    (void)snprintf(directory, sizeof directory, "/tmp/weft-test-XXXXXX");
    if (mkdtemp(directory) == NULL || setenv("XDG_RUNTIME_DIR", directory, 1) != 0)
        return 1;
    (void)signal(SIGQUIT, SIG_DFL); /* a shell's background job has inherited that it is ignored */
    int failed = kit_main(cases, sizeof cases / sizeof cases[0]);
    (void)snprintf(path, sizeof path, "%s/weft", directory);
    (void)rmdir(path);
    (void)rmdir(directory);
    return failed;
}
