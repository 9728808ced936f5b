#include "worker/models/dalle_steps.h"

#include <algorithm>
#include <utility>

#include "worker/tensors/determinism.h"

namespace promptsweep::worker {
namespace {

constexpr int64_t kQuarters = 4;
constexpr int64_t kLeastReach = 8;  // fused attention wants masks of a multiple of it

// Rows of each part, and whether they share a text: what a recording depends on.
std::vector<int64_t> LayoutOf(const std::vector<CrossRows>& cross) {
  std::vector<int64_t> layout;
  for (const CrossRows& part : cross) {
    layout.push_back(part.end);
    layout.push_back(part.bias.size(0));
  }
  return layout;
}

}  // namespace

struct DalleSteps::Recorded {
  DecoderState state;  // views of the memory, and texts of its own
  std::vector<DeviceGraph> steps;
  std::vector<at::Tensor> logits;
};

DalleSteps::DalleSteps(const DalleDecoder& decoder, int64_t rows, at::Device device)
    : decoder_(decoder), rows_(rows), device_(device) {
  if (!DeviceGraph::Can(device_)) return;
  memory_ = decoder_.Begin(rows_);
  // What a masked position holds is multiplied by nothing, which must not be NaN.
  for (auto* past : {&memory_.keys, &memory_.values}) {
    for (at::Tensor& layer : *past) layer.zero_();
  }
  const auto longs = at::TensorOptions().dtype(at::kLong).device(device_);
  position_ = at::zeros({1}, longs);
  tokens_ = at::zeros({rows_}, longs);
}

DalleSteps::~DalleSteps() = default;

DalleSteps::Recorded& DalleSteps::RecordedFor(const std::vector<CrossRows>& cross) {
  std::unique_ptr<Recorded>& found = all_recorded_[LayoutOf(cross)];
  if (found != nullptr) return *found;
  found = std::make_unique<Recorded>();
  const int64_t rows = cross.back().end;
  for (size_t i = 0; i < memory_.keys.size(); ++i) {
    found->state.keys.push_back(memory_.keys[i].narrow(0, 0, rows));
    found->state.values.push_back(memory_.values[i].narrow(0, 0, rows));
  }
  for (const CrossRows& part : cross) {
    CrossRows own{part.begin, part.end};
    own.bias = at::empty_like(part.bias, at::MemoryFormat::Contiguous);
    for (size_t i = 0; i < part.keys.size(); ++i) {
      own.keys.push_back(at::empty_like(part.keys[i], at::MemoryFormat::Contiguous));
      own.values.push_back(at::empty_like(part.values[i], at::MemoryFormat::Contiguous));
    }
    found->state.cross.push_back(std::move(own));
  }
  return *found;
}

void DalleSteps::Begin(std::vector<CrossRows> cross) {
  if (!DeviceGraph::Can(device_)) {
    state_ = decoder_.Begin(cross.back().end);
    state_.cross = std::move(cross);
    return;
  }
  recorded_ = &RecordedFor(cross);
  for (size_t part = 0; part < cross.size(); ++part) {
    CrossRows& own = recorded_->state.cross[part];
    own.bias.copy_(cross[part].bias);
    for (size_t i = 0; i < own.keys.size(); ++i) {
      own.keys[i].copy_(cross[part].keys[i]);
      own.values[i].copy_(cross[part].values[i]);
    }
  }
  walked_ = 0;
}

at::Tensor DalleSteps::Next(const at::Tensor& tokens) {
  if (!DeviceGraph::Can(device_)) return decoder_.Step(state_, tokens);
  const int64_t length = memory_.keys[0].size(2);
  const int64_t quarter = ((length + kQuarters - 1) / kQuarters + kLeastReach - 1) / kLeastReach * kLeastReach;
  const auto which = static_cast<size_t>(walked_ / quarter);
  const at::Tensor given = tokens_.narrow(0, 0, tokens.size(0));
  given.copy_(tokens);
  position_.fill_(walked_++);
  if (which == recorded_->steps.size()) {
    at::Tensor& logits = recorded_->logits.emplace_back();
    const auto reach = std::min(static_cast<int64_t>(which + 1) * quarter, length);
    try {
      recorded_->steps.emplace_back(device_, [&] {
        const AnyOrder each_position_is_written_once;
        logits = decoder_.StepAt(recorded_->state, given, position_, reach);
      });
    } catch (...) {
      recorded_->logits.pop_back();
      throw;
    }
  }
  recorded_->steps[which].Play();
  return recorded_->logits[which];
}

}  // namespace promptsweep::worker
