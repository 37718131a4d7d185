/* SPDX-License-Identifier: MIT */
/* The same simulation of the counter that saves durably. */
#define COUNTER "counter_fixed.c"
#include "counter_sim.c"
