/* SPDX-License-Identifier: MIT */
/*
 * The failures of a search: which ones are the same, and which one is the shortest. See sim.h.
 *
 * Two failures are the same if their code and sentence are, but for the numbers in them.
 *
 * Floor 6. Invariants: nothing waits or allocates; the outcome does not depend on the order in
 * which failures are added, as long as there are fewer kinds than SIM_GROUPS.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void sim_failure_parse(struct sim_failure *ret, uint64_t seed, const char *line)
{
    unsigned long long told_seed, steps;
    double seconds;
    *ret = (struct sim_failure){.seed = seed};
    snprintf(ret->line, sizeof(ret->line), "%s", line);
    ret->what = ret->line;
    if (strncmp(ret->line, SIM_FAILED, strlen(SIM_FAILED)) != 0)
        return;
    ret->what += strlen(SIM_FAILED);
    const char *rest = strstr(ret->what, "): ");
    if (rest == NULL ||
        sscanf(ret->what, "seed %llu, after %lf s (%llu step", &told_seed, &seconds, &steps) != 3)
        return;
    ret->told = true;
    ret->told_seed = told_seed;
    ret->steps = steps;
    ret->seconds = seconds;
    ret->what = rest + strlen("): ");
}

/* Numbers, also hexadecimal ones and those with a point or commas, become N; but an exit status is
 * more than a number. */
static void make_key(char *key, const struct sim_failure *f)
{
    const char *what = f->what;
    size_t len = 0;
    if (what == f->line) {
        snprintf(key, SIM_LINE, "%s", what);
        return;
    }
    while (*what != '\0' && len < SIM_LINE - 1) {
        if (!isdigit((unsigned char)*what)) {
            key[len++] = *what++;
            continue;
        }
        key[len++] = 'N';
        if (what[0] == '0' && what[1] == 'x') {
            what += 2;
            while (isxdigit((unsigned char)*what))
                what++;
            continue;
        }
        while (isdigit((unsigned char)*what) ||
               ((*what == '.' || *what == ',') && isdigit((unsigned char)what[1])))
            what++;
    }
    key[len] = '\0';
}

/* A crash says nothing of its length, so it comes after all that do. */
static bool is_shorter(const struct sim_failure *a, const struct sim_failure *b)
{
    if (a->told != b->told)
        return a->told;
    if (a->steps != b->steps)
        return a->steps < b->steps;
    if (a->seconds < b->seconds || a->seconds > b->seconds)
        return a->seconds < b->seconds;
    return a->seed < b->seed;
}

/* A copy points into itself. */
static void keep(struct sim_failure *to, const struct sim_failure *f)
{
    *to = *f;
    to->what = to->line + (f->what - f->line);
}

static struct sim_group *find_group(struct sim_failures *all, const char *key)
{
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->groups[i].key, key) == 0)
            return &all->groups[i];
    if (all->count == SIM_GROUPS)
        return &all->groups[SIM_GROUPS - 1];
    struct sim_group *g = &all->groups[all->count++];
    snprintf(g->key, sizeof(g->key), "%s", all->count == SIM_GROUPS ? "and others" : key);
    return g;
}

void sim_failures_add(struct sim_failures *all, const struct sim_failure *f)
{
    char key[SIM_LINE];
    make_key(key, f);
    struct sim_group *g = find_group(all, key);
    all->total++;
    if (g->count++ == 0 || is_shorter(f, &g->shortest))
        keep(&g->shortest, f);
    int at = g->seeds_known;
    if (at < SIM_SEEDS)
        g->seeds_known++;
    else if (f->seed < g->seeds[SIM_SEEDS - 1])
        at = SIM_SEEDS - 1;
    else
        return;
    for (; at > 0 && g->seeds[at - 1] > f->seed; at--)
        g->seeds[at] = g->seeds[at - 1];
    g->seeds[at] = f->seed;
}

static int compare_groups(const void *left, const void *right)
{
    const struct sim_group *a = left;
    const struct sim_group *b = right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return a->seeds[0] < b->seeds[0] ? -1 : 1;
}

void sim_failures_sort(struct sim_failures *all)
{
    qsort(all->groups, (size_t)all->count, sizeof(all->groups[0]), compare_groups);
    for (int i = 0; i < all->count; i++) { /* they have moved */
        struct sim_failure f = all->groups[i].shortest;
        sim_failure_parse(&all->groups[i].shortest, f.seed, f.line);
    }
}

const struct sim_failure *sim_failures_shortest(const struct sim_failures *all)
{
    const struct sim_failure *best = NULL;
    for (int i = 0; i < all->count; i++)
        if (best == NULL || is_shorter(&all->groups[i].shortest, best))
            best = &all->groups[i].shortest;
    return best;
}
