// SPDX-License-Identifier: Apache-2.0
// What the programs' command lines have in common.
#ifndef TESSERA_BENCH_OPTIONS_H_
#define TESSERA_BENCH_OPTIONS_H_

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::bench {

inline std::vector<std::string> split(std::string_view text, char separator = ',') {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    items.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

// The flags of a program, one after the other:
//
//   for (CommandLine line(argc, argv, kHelp); line.next();) {
//     if (line.is("--quick")) {
//       options.quick = true;
//     } else if (line.is("--rounds")) {
//       options.rounds = line.count();
//     } else {
//       line.unknown();
//     }
//   }
//
// --help prints the help and ends the program. What is wrong throws std::invalid_argument.
class CommandLine {
 public:
  CommandLine(int argc, char** argv, const char* help) : argc_(argc), argv_(argv), help_(help) {}

  bool next() {
    if (++at_ >= argc_) return false;
    flag_ = argv_[at_];
    if (flag_ == "--help") {
      std::fputs(help_, stdout);
      std::exit(EXIT_SUCCESS);
    }
    return true;
  }

  bool is(std::string_view flag) const { return flag_ == flag; }

  std::string value() {
    if (at_ + 1 >= argc_) throw std::invalid_argument(flag_ + " needs a value");
    return argv_[++at_];
  }
  // At least 1.
  int count() {
    const double x = number();
    return x >= 1 ? static_cast<int>(std::min(x, 1e9)) : 1;
  }
  double number() {
    const std::string text = value();
    std::size_t used = 0;
    double result = 0;
    try {
      result = std::stod(text, &used);
    } catch (const std::exception&) {
    }
    if (used == 0 || used != text.size()) {
      throw std::invalid_argument(flag_ + ": \"" + text + "\" is no number");
    }
    return result;
  }

  [[noreturn]] void unknown() const {
    throw std::invalid_argument("unknown option " + flag_ + " (--help lists them)");
  }

 private:
  const int argc_;
  char** const argv_;
  const char* const help_;
  int at_ = 0;
  std::string flag_;
};

// main() of a program: what `run` throws is its last line.
template <class Run>
int run_program(const char* name, const Run& run) {
  try {
    return run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name, e.what());
    return EXIT_FAILURE;
  }
}

}  // namespace tessera::bench

#endif  // TESSERA_BENCH_OPTIONS_H_
