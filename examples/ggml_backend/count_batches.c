// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program of llama.cpp on RISC-V: bench/count/count_plugin.c counts the instructions of each batch of tokens.
//
//   riscv64-linux-gnu-gcc -O2 -shared -fPIC count_batches.c -o count_batches.so
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>

typedef long (*Function)(long, long, long, long, long, long);

#define COUNT_CALLS_OF(NAME)                                  \
  long NAME(long a, long b, long c, long d, long e, long f) { \
    const Function next = (Function)dlsym(RTLD_NEXT, #NAME);  \
    __asm__ volatile(".word 0x00001037" ::: "memory");        \
    const long result = next(a, b, c, d, e, f);               \
    __asm__ volatile(".word 0x00002037" ::: "memory");        \
    return result;                                            \
  }

COUNT_CALLS_OF(llama_process)
COUNT_CALLS_OF(llama_decode)

// ggml asks Linux whether there are vectors, by a call (number 258) that qemu 7.2 doesn't have. Without an answer its backend of
// the CPU would be the one without them.
struct Answer {
  long key;
  unsigned long value;
};
enum { kHardwareProbe = 258, kExtensions = 4, kFloatsCompressedVectors = 7 };

long syscall(long number, ...) {
  long x[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; ++i) x[i] = va_arg(list, long);
  va_end(list);
  struct Answer* const answer = (struct Answer*)x[0];
  if (number == kHardwareProbe && answer->key == kExtensions) {
    answer->value = kFloatsCompressedVectors;
    return 0;
  }
  return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, x[0], x[1], x[2], x[3], x[4],
                                                            x[5]);
}
