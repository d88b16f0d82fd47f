/* A plugin for QEMU's user emulators: counts the guest's instructions between two marks that the
 * guest executes, and prints "instructions N" to standard output at the second. Debian ships no
 * header for plugins; these are the declarations of version 1 of their interface that it needs. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum plugin_op { PLUGIN_ADD_U64 };
enum plugin_flags { PLUGIN_NO_REGS };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
                                                       enum plugin_op op, void *counter,
                                                       uint64_t add);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                                   void (*call)(unsigned vcpu, void *data),
                                                   enum plugin_flags flags, void *data);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
                                                  void (*call)(uint64_t id,
                                                               struct qemu_plugin_tb *tb));

#define EXPORT __attribute__((visibility("default")))
extern EXPORT int qemu_plugin_version;
extern EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc,
                                      char **argv);
EXPORT int qemu_plugin_version = 1;

/* movz xzr, #0x5e01 and #0x5e02: they do nothing, and no compiler emits them. */
#define MARK_BEGIN 0xd28bc03fu
#define MARK_END   0xd28bc05fu

static uint64_t executed, at_begin;

static void begin(unsigned vcpu, void *data) {
    (void)vcpu;
    (void)data;
    at_begin = executed;
}

static void end(unsigned vcpu, void *data) {
    char line[64];
    (void)vcpu;
    (void)data;
    const int n = snprintf(line, sizeof line, "instructions %llu\n",
                           (unsigned long long)(executed - at_begin));
    if (n > 0 && write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(1);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;
        if (qemu_plugin_insn_size(insn) == sizeof word)
            memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        if (word == MARK_BEGIN)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, PLUGIN_NO_REGS, NULL);
        else if (word == MARK_END)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, end, PLUGIN_NO_REGS, NULL);
        else
            qemu_plugin_register_vcpu_insn_exec_inline(insn, PLUGIN_ADD_U64, &executed, 1);
    }
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
