/* SPDX-License-Identifier: MIT */
/* Listeners on Unix sockets: permissions, stale paths, what is removed at the end. */
#include "listener_kit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/server.h"

static mode_t mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mode & 0777 : 0;
}

static void unix_path(void)
{
    struct place p = place_make();
    struct weft_listen_options o = {.unix_mode = 0660};
    struct weft_listener *l = listen_at(p.endpoint, NULL), *other = NULL;
    CHECK_EQ(mode_of(p.path), 0600);
    CHECK(strcmp(endpoint_of(l), p.endpoint) == 0);
    check_answers(l, p.endpoint);
    CHECK_EQ(weft_listen(&other, p.endpoint, NULL), -EADDRINUSE); /* a live one stays */
    CHECK(other == NULL);
    struct weft_stream *probe = NULL; /* whoever asks whether it lives connects for a moment */
    CHECK_EQ(weft_accept(l, &probe, WEFT_NEVER), 0);
    CHECK_EQ(weft_close(&probe, WEFT_NEVER), 0);
    check_answers(l, p.endpoint);
    weft_listener_close(&l);
    CHECK(!exists(p.path));

    l = listen_at(p.endpoint, &o);
    CHECK_EQ(mode_of(p.path), 0660);
    weft_listener_close(&l);
    place_end(&p);
}

/* Live, but so busy that connect would wait. */
static void unix_full_backlog(void)
{
    struct place p = place_make();
    struct weft_listen_options o = {.backlog = 1};
    struct weft_listener *l = listen_at(p.endpoint, &o), *other = NULL;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fds[8], n = 0;
    memcpy(sa.sun_path, p.path, strlen(p.path));
    for (; n < 8; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[n], (struct sockaddr *)&sa, sizeof sa) < 0)
            break;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK(n < 8);
    CHECK_EQ(weft_listen(&other, p.endpoint, NULL), -EADDRINUSE);
    for (; n >= 0; n--)
        close(fds[n]);
    weft_listener_close(&l);
    place_end(&p);
}

static void unix_stale_path(void)
{
    struct place p = place_make();
    struct weft_endpoint e;
    struct weft__listen o = {0};
    CHECK_EQ(weft_endpoint_parse(&e, p.endpoint), 0);
    CHECK(strcmp(weft__unix_path(&e), p.path) == 0);
    int fd = weft__listen_fd(&e, &o);
    CHECK(fd >= 0);
    close(fd); /* as a crash would: the path stays */
    CHECK(exists(p.path));
    struct weft_listener *l = listen_at(p.endpoint, NULL);
    check_answers(l, p.endpoint);
    weft_listener_close(&l);
    CHECK(!exists(p.path));
    place_end(&p);
}

/* What is no socket is never replaced. */
static void unix_foreign_file(void)
{
    struct place p = place_make();
    struct weft_listener *l = NULL;
    int fd = open(p.path, O_CREAT | O_WRONLY, 0644);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(weft_listen(&l, p.endpoint, NULL), -EADDRINUSE);
    CHECK(exists(p.path));
    CHECK_EQ(mode_of(p.path), 0644);
    place_end(&p);
}

/* The path is removed only while it is ours. */
static void unix_path_of_another(void)
{
    struct place p = place_make();
    struct weft_listener *l = listen_at(p.endpoint, NULL);
    CHECK_EQ(unlink(p.path), 0);
    struct weft_listener *later = listen_at(p.endpoint, NULL);
    weft_listener_close(&l);
    check_answers(later, p.endpoint);
    weft_listener_close(&later);
    CHECK(!exists(p.path));
    place_end(&p);
}

static void unix_abstract(void)
{
    char name[64];
    struct weft_endpoint e;
    (void)snprintf(name, sizeof name, "unix:@weft-test-%d", (int)getpid());
    CHECK_EQ(weft_endpoint_parse(&e, name), 0);
    CHECK(weft__unix_path(&e) == NULL);
    struct weft_listener *l = listen_at(name, NULL);
    CHECK(strcmp(endpoint_of(l), name) == 0);
    check_answers(l, name);
    weft_listener_close(&l);
}

static void (*const anywhere[])(void) = {
    unix_path,         unix_full_backlog,    unix_stale_path,
    unix_foreign_file, unix_path_of_another, unix_abstract,
};

static int in_a_task(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof anywhere / sizeof anywhere[0]; i++)
        anywhere[i]();
    return 0;
}

static void on_a_thread(const char *driver)
{
    if (strcmp(driver, "epoll") == 0) /* it is the same for all */
        in_a_task(NULL);
}

static const struct kit_case cases[] = {
    IN_TASK(in_a_task),
    ON_THREAD(on_a_thread),
};
KIT_MAIN(cases)
