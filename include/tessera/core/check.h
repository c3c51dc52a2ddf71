// SPDX-License-Identifier: Apache-2.0
// Errors: every refused argument is reported before anything is written, with the function, the
// argument, what was expected and what came.
#ifndef TESSERA_CORE_CHECK_H_
#define TESSERA_CORE_CHECK_H_

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

#include "tessera/config.h"

namespace tessera {

// The error that public functions raise. what() reads
//   "gemm: b: expected 3 rows (the columns of a), got 4".
class Error : public std::exception {
 public:
  Error(std::string function, std::string argument, std::string expected, std::string got)
      : function_(std::move(function)),
        argument_(std::move(argument)),
        expected_(std::move(expected)),
        got_(std::move(got)),
        what_(function_ + ": " + argument_ + ": expected " + expected_ + ", got " + got_) {}

  const char* what() const noexcept override { return what_.c_str(); }
  const std::string& function() const noexcept { return function_; }
  const std::string& argument() const noexcept { return argument_; }
  const std::string& expected() const noexcept { return expected_; }
  const std::string& got() const noexcept { return got_; }

 private:
  std::string function_, argument_, expected_, got_, what_;
};

// Called with each error. It may throw, longjmp or end the program; if it returns, the default
// follows: throw the Error, or, where exceptions are off, print it to stderr and abort.
using ErrorHandler = void (*)(const Error&);

namespace detail {
inline std::atomic<ErrorHandler> error_handler{nullptr};
}  // namespace detail

// Replaces the handler (nullptr: the default) and returns the one before. Thread-safe.
inline ErrorHandler set_error_handler(ErrorHandler handler) {
  return detail::error_handler.exchange(handler);
}

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void fail(std::string function, std::string argument,
                                                        std::string expected, std::string got) {
  const Error error(std::move(function), std::move(argument), std::move(expected), std::move(got));
  if (const ErrorHandler handler = error_handler.load()) handler(error);
#if TESSERA_EXCEPTIONS
  throw error;
#else
  std::fprintf(stderr, "tessera: %s\n", error.what());
  std::abort();
#endif
}

}  // namespace detail
}  // namespace tessera

#endif  // TESSERA_CORE_CHECK_H_
