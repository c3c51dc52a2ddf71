// SPDX-License-Identifier: Apache-2.0
// Process 1 of the guest that bochs-run boots: runs /test with the arguments in /args and the
// environment in /env (one a line), prints what the test left in /digests, and switches off.
// All output goes to the serial port, between lines that bochs-run looks for.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kMaxLines = 256, kMaxBytes = 1 << 16 };

// Splits the lines of a file into list, which already holds n entries and ends in a null pointer.
static void read_lines(const char* path, char* text, char** list, int n) {
  int fd = open(path, O_RDONLY);
  ssize_t bytes = fd < 0 ? 0 : read(fd, text, kMaxBytes - 1);
  text[bytes > 0 ? bytes : 0] = 0;
  for (char* line = strtok(text, "\n"); line && n < kMaxLines - 1; line = strtok(NULL, "\n")) list[n++] = line;
  list[n] = NULL;
}

static void print_file(const char* path) {
  char buffer[4096];
  int fd = open(path, O_RDONLY);
  for (ssize_t n; fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0;)
    if (write(1, buffer, (size_t)n) < 0) break;
}

// Bochs ends when this word arrives, letter by letter, at its shutdown port.
static void power_off(void) {
  if (iopl(3) == 0)
    for (const char* letter = "Shutdown"; *letter; ++letter) outb((unsigned char)*letter, 0x8900);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

int main(void) {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mkdir("/tmp", 01777);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);

  int serial = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  if (serial < 0) power_off();
  struct termios mode;
  if (tcgetattr(serial, &mode) == 0) {
    cfmakeraw(&mode);
    cfsetspeed(&mode, B115200);
    tcsetattr(serial, TCSANOW, &mode);
  }
  for (int fd = 0; fd < 3; ++fd) dup2(serial, fd);

  static char arg_text[kMaxBytes], env_text[kMaxBytes];
  static char* args[kMaxLines] = {"/test"};
  static char* env[kMaxLines] = {"HOME=/", "PATH=/"};
  read_lines("/args", arg_text, args, 1);
  read_lines("/env", env_text, env, 2);

  dprintf(1, "\n=====GUEST-BEGIN=====\n");
  pid_t pid = fork();
  if (pid == 0) {
    if (chdir("/tmp") == 0) execve("/test", args, env);
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  dprintf(1, "\n=====GUEST-DIGESTS=====\n");
  print_file("/digests");
  dprintf(1, "\n=====GUEST-END rc=%d=====\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  tcdrain(1);
  power_off();
}
