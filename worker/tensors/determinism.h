// Process-wide settings of libtorch that make equal inputs give equal bytes on one kind of device.
#pragma once

#include <string>

namespace c10 {
struct Device;
}

namespace promptsweep::worker {

// Call first in main, with its argv. Libraries read some of the environment when they load; this sets it and starts the program
// anew, once, in the same process. Returns at once where OMP_WAIT_POLICY is set already. What it sets: OpenMP threads that wait
// sleep instead of spinning, which beside other work on the same cores made generation nine times slower.
void SettleEnvironment(char** argv);

// Call once, first thing in a program that runs models, before any tensor is made. `threads` is the number of CPU threads an
// operation uses; 0 leaves it to the machine. Turns off autotuning, TF32 and reduced-precision sums, asks for deterministic
// algorithms, and pins the CPU's math library to one code path whatever the number of threads.
void MakeDeterministic(int threads);

// While one lives, torch may write scattered elements in any order: for code that writes each element once, which torch would
// sort first. For one thread at a time.
class AnyOrder {
 public:
  AnyOrder();
  ~AnyOrder();
  AnyOrder(const AnyOrder&) = delete;
  AnyOrder& operator=(const AnyOrder&) = delete;

 private:
  const bool before_;
};

// Rows of the passes that serve batches of `batch`. On a CPU at least 8: products of few rows are summed in another order than
// the same rows among many, and so the size of a worker's batch would show in its results.
int PhysicalRows(int batch, const c10::Device& device);

// What results depend on beside the weights, for provenance: "torch 2.11.0 cpu AVX512".
std::string LibraryVersions();

}  // namespace promptsweep::worker
