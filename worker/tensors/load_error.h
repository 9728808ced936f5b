// How loading and running a model fails inside this folder tree, and how that leaves it: constructors of modules throw
// LoadError (libtorch throws anyway); Guarded turns every exception into a Status at the edge.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace promptsweep::worker {

// One line that names the file, and the tensor or key, at fault.
class LoadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace internal {

// The status of the exception being handled; call inside a catch block.
inline absl::Status StatusOfException() {
  try {
    throw;
  } catch (const LoadError& error) {
    return absl::InvalidArgumentError(error.what());
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace internal

// Runs `f`, which returns a T, a StatusOr<T> or a Status. LoadError becomes INVALID_ARGUMENT, an exhausted device
// RESOURCE_EXHAUSTED, anything else INTERNAL.
template <typename F>
auto Guarded(F&& f) {
  using R = std::invoke_result_t<F>;
  if constexpr (std::is_same_v<R, absl::Status>) {
    try {
      return f();
    } catch (...) {
      return internal::StatusOfException();
    }
  } else if constexpr (requires(R r) { r.status(); }) {
    try {
      return f();
    } catch (...) {
      return R(internal::StatusOfException());
    }
  } else {
    try {
      return absl::StatusOr<R>(f());
    } catch (...) {
      return absl::StatusOr<R>(internal::StatusOfException());
    }
  }
}

}  // namespace promptsweep::worker
