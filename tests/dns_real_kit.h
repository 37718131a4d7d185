/* SPDX-License-Identifier: MIT */
/*
 * A real name server on loopback, dnsmasq, with the records of its test. Part of dns_kit.h.
 */
#ifndef DNS_REAL_KIT_H
#define DNS_REAL_KIT_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt_kit.h"

/* Ports that are free for UDP and TCP. */
static inline int dns_bind(int *udp, int *tcp);

static struct {
    pid_t pid;
    int port, log;
} real;

/* Starts dnsmasq with these records and waits until it says that it has started; false: it has not,
 * maybe because somebody else took its port meanwhile. */
static inline bool real_try(const char *const *records)
{
    char port[32], *argv[64];
    int n = 0, udp, tcp, fds[2];
    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    real.port = dns_bind(&udp, &tcp);
    (void)snprintf(port, sizeof port, "--port=%d", real.port);
    const char *const fixed[] = {
        "dnsmasq",        "--no-daemon",       "--conf-file=/dev/null",
        "--no-resolv",    "--no-hosts",        "--listen-address=127.0.0.1",
        "--no-poll",      "--bind-interfaces", "--pid-file=",
        "--local=/test/", "--local=/corp/",    "--local=/in-addr.arpa/",
        "--user=root"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(fixed) - (geteuid() != 0); i++)
        argv[n++] = (char *)(uintptr_t)fixed[i];
    argv[n++] = port;
    for (; *records != NULL; records++)
        argv[n++] = (char *)(uintptr_t)*records;
    argv[n] = NULL;
    close(udp);
    close(tcp);
    real.pid = fork();
    CHECK(real.pid >= 0);
    if (real.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a check ends the test */
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        execvp("dnsmasq", argv);
        execv("/usr/sbin/dnsmasq", argv);
        _exit(127);
    }
    close(fds[1]);
    real.log = fds[0];
    char text[4096];
    size_t len = 0;
    ssize_t r;
    do {
        r = read(real.log, text + len, sizeof text - 1 - len);
        len += r > 0 ? (size_t)r : 0;
        text[len] = '\0';
    } while (r > 0 && strstr(text, "started") == NULL);
    if (strstr(text, "started") == NULL)
        print_error("dnsmasq did not start: %s\n", text);
    return strstr(text, "started") != NULL;
}

static inline void real_end(void)
{
    kill(real.pid, SIGKILL);
    CHECK_EQ(waitpid(real.pid, NULL, 0), real.pid);
    close(real.log);
}

static inline void real_start(const char *const *records)
{
    for (int tries = 0; !real_try(records); tries++) {
        real_end();
        CHECK(tries < 5);
    }
}

#endif
