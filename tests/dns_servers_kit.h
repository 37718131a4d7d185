/* SPDX-License-Identifier: MIT */
/*
 * Real name servers on loopback, each started and stopped by its test, in a folder of its own and
 * at ports that were free: knot, which has zones, and unbound, which asks others.
 */
#ifndef DNS_SERVERS_KIT_H
#define DNS_SERVERS_KIT_H

#include <ftw.h>

#include "dns_kit.h"

struct name_server {
    pid_t pid;
    int port, log;
    char folder[40];
    char said[8192]; /* until it was ready */
};

static inline void server_file(const struct name_server *s, const char *name, const char *text)
{
    char path[100];
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    dns_write(path, text);
}

static inline int server_remove(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st;
    (void)kind;
    (void)f;
    return remove(path);
}

static inline void server_stop(struct name_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        CHECK_EQ(waitpid(s->pid, NULL, 0), s->pid);
        close(s->log);
    }
    CHECK_EQ(nftw(s->folder, server_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
    s->pid = 0;
}

/* Runs it and waits until it says that it is ready. */
static inline bool server_run(struct name_server *s, char *const *argv, const char *ready)
{
    int fds[2];
    size_t len = 0;
    ssize_t r;
    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    s->pid = fork();
    CHECK(s->pid >= 0);
    if (s->pid == 0) {
        char path[100];
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a check ends the test */
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        execvp(argv[0], argv);
        (void)snprintf(path, sizeof path, "/usr/sbin/%s", argv[0]);
        execv(path, argv);
        _exit(127);
    }
    close(fds[1]);
    s->log = fds[0];
    do {
        r = read(s->log, s->said + len, sizeof s->said - 1 - len);
        len += r > 0 ? (size_t)r : 0;
        s->said[len] = '\0';
    } while (r > 0 && strstr(s->said, ready) == NULL);
    return strstr(s->said, ready) != NULL;
}

/* Ports are free when they are chosen; somebody else may be quicker. */
static inline void server_start(struct name_server *s, bool (*attempt)(struct name_server *s))
{
    for (int tries = 0;; tries++) {
        int udp, tcp;
        *s = (struct name_server){.folder = "/tmp/weft-names-XXXXXX"};
        CHECK(mkdtemp(s->folder) != NULL);
        s->port = dns_bind(&udp, &tcp);
        close(udp);
        close(tcp);
        if (attempt(s))
            return;
        print_error("a name server did not start: %s\n", s->said);
        server_stop(s);
        CHECK(tries < 5);
    }
}

/* --- knot ------------------------------------------------------------------------------------- */

#define ZONE_HEAD "$TTL 77\n@ SOA ns.test. admin.test. 1 3600 600 86400 2\n@ NS ns.test.\n"

static const char *knot_zone, *knot_reverse; /* behind ZONE_HEAD: of test, of 2.0.192.in-addr.arpa
                                              */

static inline bool knot_attempt(struct name_server *s)
{
    static char knotd[] = "knotd", dash_c[] = "-c";
    char text[2000], conf[100];
    (void)snprintf(text, sizeof text,
                   "server:\n    rundir: %s\n    listen: 127.0.0.1@%d\n    udp-max-payload: 1232\n"
                   "database:\n    storage: %s/db\n"
                   "log:\n  - target: stdout\n    any: info\n"
                   "template:\n  - id: default\n    storage: %s\n    zonefile-sync: -1\n"
                   "    journal-content: none\n    semantic-checks: off\n"
                   "zone:\n  - domain: test\n    file: zone\n"
                   "  - domain: 2.0.192.in-addr.arpa\n    file: reverse\n",
                   s->folder, s->port, s->folder, s->folder);
    server_file(s, "conf", text);
    server_file(s, "zone", knot_zone);
    server_file(s, "reverse", knot_reverse);
    (void)snprintf(conf, sizeof conf, "%s/conf", s->folder);
    char *argv[] = {knotd, dash_c, conf, NULL};
    return server_run(s, argv, "server started") && strstr(s->said, "cannot bind") == NULL;
}

/* --- unbound ---------------------------------------------------------------------------------- */

static int unbound_asks; /* the port of whom it asks about test and 192.0.2.* */
static bool unbound_refuses;

static inline bool unbound_attempt(struct name_server *s)
{
    static char unbound[] = "unbound", dash_d[] = "-d", dash_p[] = "-p", dash_c[] = "-c";
    char text[2000], conf[100];
    (void)snprintf(text, sizeof text,
                   "server:\n  directory: \"%s\"\n  chroot: \"\"\n  username: \"\"\n"
                   "  pidfile: \"\"\n  logfile: \"\"\n  use-syslog: no\n  verbosity: 1\n"
                   "  interface: 127.0.0.1\n  port: %d\n  do-ip6: no\n  num-threads: 1\n"
                   "  module-config: \"iterator\"\n  do-not-query-localhost: no\n"
                   "  access-control: 127.0.0.0/8 %s\n"
                   "  local-zone: \"test.\" nodefault\n"
                   "  local-zone: \"2.0.192.in-addr.arpa.\" nodefault\n"
                   "remote-control:\n  control-enable: no\n"
                   "stub-zone:\n  name: \"test.\"\n  stub-addr: 127.0.0.1@%d\n"
                   "stub-zone:\n  name: \"2.0.192.in-addr.arpa.\"\n  stub-addr: 127.0.0.1@%d\n",
                   s->folder, s->port, unbound_refuses ? "refuse" : "allow", unbound_asks,
                   unbound_asks);
    server_file(s, "conf", text);
    (void)snprintf(conf, sizeof conf, "%s/conf", s->folder);
    char *argv[] = {unbound, dash_d, dash_p, dash_c, conf, NULL};
    return server_run(s, argv, "start of service");
}

#endif
