/* SPDX-License-Identifier: MIT */
#ifndef WEFT_FUZZ_REPLAY_H
#define WEFT_FUZZ_REPLAY_H
/*
 * A fuzzer without libFuzzer: compiled with -DWEFT_FUZZ_REPLAY by any compiler, it runs over the
 * files that it is given, for a debugger or valgrind.
 */
#ifdef WEFT_FUZZ_REPLAY
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        size_t size = fread(data, 1, sizeof(data), file);
        (void)fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs replayed\n", argc - 1);
    return 0;
}
#endif

#endif
