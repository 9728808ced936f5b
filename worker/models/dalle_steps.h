// A decoder's walk through a batch, asked of the device in the way that suits it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "worker/models/dalle_bart.h"
#include "worker/tensors/device_graph.h"

namespace promptsweep::worker {

// On a CPU each step is DalleDecoder::Step. A GPU records a step for each quarter of the positions and each layout of texts, at
// the first batch that needs it, and plays it from then on; its memory for keys and values is kept from batch to batch. For one
// thread; the decoder outlives it.
class DalleSteps {
 public:
  // At most `rows` rows a batch.
  DalleSteps(const DalleDecoder& decoder, int64_t rows, at::Device device);
  ~DalleSteps();

  // Begins a batch whose rows `cross` covers.
  void Begin(std::vector<CrossRows> cross);
  // As DalleDecoder::Step; the logits hold until the next call.
  at::Tensor Next(const at::Tensor& tokens);

 private:
  struct Recorded;
  Recorded& RecordedFor(const std::vector<CrossRows>& cross);

  const DalleDecoder& decoder_;
  const int64_t rows_;
  const at::Device device_;
  DecoderState state_;                                                      // on a CPU, of the batch
  DecoderState memory_;                                                     // on a GPU, of `rows` rows
  at::Tensor position_, tokens_;                                            // on a GPU: int64 [1] and [rows]
  int64_t walked_ = 0;                                                      // positions of the batch
  Recorded* recorded_ = nullptr;                                            // of the batch
  std::map<std::vector<int64_t>, std::unique_ptr<Recorded>> all_recorded_;  // by the texts' rows
};

}  // namespace promptsweep::worker
