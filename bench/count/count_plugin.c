// SPDX-License-Identifier: Apache-2.0
// A TCG plugin for qemu-riscv64 and qemu-aarch64 7.2: counts the instructions that a marked region executes (region.h).
//
//   cc -O2 -shared -fPIC count_plugin.c -o libcount.so
//   qemu-riscv64 -plugin ./libcount.so,hot=3 -cpu rv64,v=true,vlen=256 program
//
// Each region ends with one line on stderr:
//   COUNT instructions=... vset=... vload=... vstore=... varith=... vfma=... fp=... memory=... branch=... other=... vuops=...
// vuops weighs every vector instruction by the registers that it works on (one, on Arm): instructions alone would
// make a large LMUL look like a gain. hot=N adds the N blocks that executed most, as bytes for
// `llvm-mc --disassemble`.
//
// Counts are exact and repeatable, which times on an emulator, or on a busy machine, are not.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of QEMU's plugin interface (version 1) that is used here; Debian has no header of it.
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
  const char* target_name;
  struct {
    int min, cur;
  } version;
  bool system_emulation;
  union {
    struct {
      int smp_vcpus, max_vcpus;
    } system;
  };
} qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned, void*);
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t, struct qemu_plugin_tb*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, qemu_plugin_vcpu_tb_trans_cb_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, qemu_plugin_vcpu_udata_cb_t,
                                            enum qemu_plugin_cb_flags, void*);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, qemu_plugin_vcpu_udata_cb_t,
                                          enum qemu_plugin_cb_flags, void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { kVset, kVload, kVstore, kVarith, kVfma, kFp, kMemory, kBranch, kOther, kClasses };
static const char* const kNames[kClasses] = {"vset", "vload",  "vstore", "varith", "vfma",
                                             "fp",   "memory", "branch", "other"};
static bool arm;
static uint32_t start_marker = 0x00001037, stop_marker = 0x00002037;  // lui x0, 1 and lui x0, 2

// One translated block: straight code, executed as a whole.
struct Block {
  uint64_t address, runs;
  uint32_t instructions[kClasses], total;
  bool has_vector;
  // Vector work before the block sets LMUL itself depends on the LMUL that it is entered with.
  double work_by_entry_lmul[8], work;
  int exit_lmul;  // code of vtype; -1: not set here
  size_t size;
  unsigned char* bytes;
  struct Block* next;
};

static struct Block* blocks;
static int hot_blocks;
static int lmul;  // code of vtype, now
static double vector_work;

static double registers_of_lmul(int code) {
  static const double kRegisters[8] = {1, 2, 4, 8, 1, 1, 1, 1};
  return kRegisters[code & 7];
}

static int class_of_compressed(uint32_t word) {
  const unsigned quadrant = word & 3, funct3 = (word >> 13) & 7;
  if (quadrant == 1) return funct3 >= 5 ? kBranch : kOther;  // c.j, c.beqz, c.bnez
  if (funct3 == 4 && quadrant == 2) return ((word >> 2) & 31) == 0 ? kBranch : kOther;  // c.jr, c.jalr
  return funct3 == 0 || funct3 == 4 ? kOther : kMemory;
}

static int class_of(uint32_t word, size_t size) {
  if (size == 2) return class_of_compressed(word);
  const unsigned opcode = word & 0x7f, funct3 = (word >> 12) & 7, funct6 = word >> 26;
  const bool fp_vector = funct3 == 1 || funct3 == 5, int_multiply = funct3 == 2 || funct3 == 6;
  // The widths of vector memory accesses are those that scalar floating point does not use.
  const bool vector_memory = funct3 == 0 || funct3 >= 5;
  switch (opcode) {
    case 0x57:
      if (funct3 == 7) return kVset;
      if (fp_vector && ((funct6 >= 0x28 && funct6 <= 0x2f) || funct6 >= 0x3b)) return kVfma;
      if (int_multiply && (funct6 == 0x29 || (funct6 >= 0x2b && funct6 <= 0x2f) || funct6 >= 0x3c)) {
        return kVfma;
      }
      return kVarith;
    case 0x07: return vector_memory ? kVload : kMemory;
    case 0x27: return vector_memory ? kVstore : kMemory;
    case 0x03: case 0x23: return kMemory;
    case 0x63: case 0x67: case 0x6f: return kBranch;
    case 0x43: case 0x47: case 0x4b: case 0x4f: case 0x53: return kFp;
    default: return kOther;
  }
}

// Of AArch64, by the groups of the top level of its encoding; SVE and NEON alike.
static int class_of_arm(uint32_t word) {
  const unsigned group = (word >> 25) & 15;
  const bool vector_register = word >> 26 & 1;
  if (group == 2) {  // SVE
    if (word >> 31) return (word >> 29) == 7 ? kVstore : kVload;
    return (word & 0xff200000u) == 0x65200000u ? kVfma : kVarith;
  }
  if ((group & 5) == 4) return !vector_register ? kMemory : word >> 22 & 1 ? kVload : kVstore;
  if ((group & 14) == 10) return kBranch;
  if ((group & 7) == 7) {
    if ((word & 0xbfa0fc00u) == 0x0e20cc00u) return kVfma;  // fmla of vectors
    return word >> 28 == 1 ? kFp : kVarith;
  }
  return kOther;
}

// Registers that one vector instruction works on. (Memory accesses whose element width is not the
// width of vtype are taken as if it were.)
static double work_of(uint32_t word, int kind, int lmul_code) {
  const unsigned funct3 = (word >> 12) & 7, funct6 = word >> 26;
  if (arm) return 1;
  const double group = registers_of_lmul(lmul_code);
  if (kind == kVload || kind == kVstore) {
    const unsigned mop = (word >> 26) & 3, lumop = (word >> 20) & 31, fields = (word >> 29) + 1;
    if (mop == 0 && lumop == 8) return fields;  // whole registers
    if (mop == 0 && lumop == 11) return 1;      // masks
    return group * fields;
  }
  const bool integer = funct3 == 0 || funct3 == 3 || funct3 == 4;
  if (!integer && funct6 == 0x10) return 1;  // moves between a scalar and element 0
  const bool widens = !integer && funct6 >= 0x30, narrows = integer && funct6 >= 0x2c && funct6 <= 0x2f;
  return widens || narrows ? 2 * group : group;
}

static void report(void) {
  uint64_t sums[kClasses] = {0}, total = 0;
  for (struct Block* b = blocks; b; b = b->next) {
    total += b->runs * b->total;
    for (int c = 0; c < kClasses; ++c) sums[c] += b->runs * b->instructions[c];
  }
  fprintf(stderr, "COUNT instructions=%llu", (unsigned long long)total);
  for (int c = 0; c < kClasses; ++c) fprintf(stderr, " %s=%llu", kNames[c], (unsigned long long)sums[c]);
  fprintf(stderr, " vuops=%.0f\n", vector_work);
  for (int i = 0; i < hot_blocks; ++i) {
    struct Block* most = NULL;
    for (struct Block* b = blocks; b; b = b->next) {
      if (b->runs * b->total > (most ? most->runs * most->total : 0)) most = b;
    }
    if (!most) break;
    fprintf(stderr, "HOT address=%llx runs=%llu instructions=%u share=%.1f%% bytes=",
            (unsigned long long)most->address, (unsigned long long)most->runs, most->total,
            100.0 * (double)(most->runs * most->total) / (double)(total + 1));
    for (size_t j = 0; j < most->size; ++j) fprintf(stderr, "%02x", most->bytes[j]);
    fprintf(stderr, "\n");
    most->runs = 0;
  }
}

static void on_start(unsigned cpu, void* data) {
  (void)cpu, (void)data;
  for (struct Block* b = blocks; b; b = b->next) b->runs = 0;
  vector_work = 0;
}

static void on_stop(unsigned cpu, void* data) {
  (void)cpu, (void)data;
  report();
}

static void on_block(unsigned cpu, void* data) {
  (void)cpu;
  struct Block* b = data;
  b->runs++;
  if (!b->has_vector) return;
  vector_work += b->work_by_entry_lmul[lmul] + b->work;
  if (b->exit_lmul >= 0) lmul = b->exit_lmul;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  struct Block* b = calloc(1, sizeof *b);
  const size_t count = qemu_plugin_tb_n_insns(tb);
  b->address = qemu_plugin_tb_vaddr(tb);
  b->total = (uint32_t)count;
  b->exit_lmul = -1;
  b->bytes = malloc(4 * count);
  for (size_t i = 0; i < count; ++i) {
    struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    const size_t size = qemu_plugin_insn_size(insn);
    uint32_t word = 0;
    memcpy(&word, qemu_plugin_insn_data(insn), size > 4 ? 4 : size);
    memcpy(b->bytes + b->size, &word, size > 4 ? 4 : size);
    b->size += size > 4 ? 4 : size;
    const int kind = arm ? class_of_arm(word) : class_of(word, size);
    b->instructions[kind]++;
    if (size == 4 && word == start_marker) {
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (size == 4 && word == stop_marker) {
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_stop, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (kind > kVfma) continue;
    b->has_vector = true;
    if (kind == kVset) {
      // vsetvli and vsetivli hold vtype. vsetvl takes it from a register: LMUL is left as it was.
      if (!(word >> 31) || word >> 30 == 3) b->exit_lmul = (word >> 20) & 7;
    } else if (b->exit_lmul >= 0) {
      b->work += work_of(word, kind, b->exit_lmul);
    } else {
      for (int code = 0; code < 8; ++code) b->work_by_entry_lmul[code] += work_of(word, kind, code);
    }
  }
  b->next = blocks;
  blocks = b;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, b);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
  if (strcmp(info->target_name, "aarch64") == 0) {
    arm = true;
    start_marker = 0xd5032c1fu, stop_marker = 0xd5032c3fu;  // hint 96 and hint 97
  }
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "hot=", 4) == 0) hot_blocks = atoi(argv[i] + 4);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
