// PS_CHECK(condition) << "why": ends the process where a broken invariant makes going on dangerous. For what can happen
// (bad input, a peer, a disk) return a Status instead.
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace promptsweep::internal {

// Prints and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    stream_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::cerr << stream_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace promptsweep::internal

#define PS_CHECK(condition) \
  while (!(condition)) ::promptsweep::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
