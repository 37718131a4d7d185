/* SPDX-License-Identifier: MIT */
/*
 * Torture of the resolver: every allocation, system call and wait goes wrong in turn; see
 * torture_kit.h. What c-ares allocates itself is not made to fail.
 */
#include "dns_kit.h"
#include "torture_kit.h"

static int look(const char *host, int family)
{
    struct weft_addresses *a = NULL;
    struct weft_resolve_options o = {.family = family};
    int err = weft_resolve(&a, host, 1, &o, TORTURE_SOON);
    CHECK((err == 0) == (a != NULL));
    weft_addresses_free(&a);
    return err;
}

static int look_task(void *arg)
{
    return look(arg, 0);
}

static void tell(void *arg, int result, struct weft_addresses *a)
{
    CHECK((result == 0) == (a != NULL));
    *(int *)arg = result;
    weft_addresses_free(&a);
}

static int configure(void)
{
    char servers[40];
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%d", wild.port);
    struct weft_dns_options o = {.servers = servers,
                                 .search = "search.test",
                                 .resolv_conf = "/etc/passwd", /* read, and nothing found in it */
                                 .hosts = "/etc/group",
                                 .timeout_ms = 50,
                                 .tries = 3};
    return weft_dns_configure(&o);
}

static int body(void *arg)
{
    static char plain[] = "plain.test", trunc[] = "trunc.test";
    struct weft_dns_answer *q = NULL;
    struct weft_group *g = NULL;
    bool task = weft_loop_current() != NULL;
    int told = 0;
    (void)arg;
    int err = configure();
    err = torture_first(err, look("localhost", 0));
    if (err == 0)
        err = torture_first(err, look("trunc", AF_INET)); /* search domain, TCP */
    if (err == 0)
        err = torture_first(err, weft_dns_query(&q, "plain.test", WEFT_DNS_A, TORTURE_SOON));
    CHECK((q != NULL) == (err == 0));
    weft_dns_answer_free(&q);
    if (err == 0) {
        int none = look("nx.test.", 0);
        CHECK(none < 0);
        err = none == WEFT_ENAME ? 0 : none;
    }
    if (err == 0 && task) {
        err = torture_first(err, weft_group_open(&g));
        if (err == 0)
            err = torture_first(err, weft_group_go(g, "one", look_task, plain));
        if (err == 0)
            err = torture_first(err, weft_group_go(g, "two", look_task, trunc));
        if (err == 0)
            err = torture_first(
                err, weft_lookup_open(NULL, g, "back.test", 1, NULL, TORTURE_SOON, tell, &told));
        if (err == 0)
            err = torture_first(err, weft_group_wait(g, TORTURE_SOON));
        err = torture_first(err, weft_group_close(&g));
        err = torture_first(err, told);
    }
    return err;
}

static int names(const char *driver)
{
    return torture_run(driver, body, NULL);
}

/* The server is the parent: the tests count descriptors, and want to have no child. */
int main(void)
{
    static const struct torture_scene scenes[] = {{"names", names}};
    int status = 0;
    wild_open();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        return torture_main(scenes, 1, scenes, 1, KIT_SLOW ? 20 : 30);
    }
    CHECK_EQ(pthread_create(&wild.thread, NULL, wild_main, NULL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    wild_end();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
