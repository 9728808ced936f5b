// How the Store's writes queue and what their values are made of: shared by the store_*.cc files, included by nothing else.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "store/store.h"

namespace promptsweep::store {

[[nodiscard]] inline absl::Status TooMuchQueued() {
  return absl::ResourceExhaustedError("the store is busy: too much is waiting to be written");
}

// One line of valid UTF-8 of bounded length.
[[nodiscard]] std::string OneLine(absl::string_view text);

template <typename Message>
[[nodiscard]] std::string Serialise(const Message& message) {
  return Versioned(message.SerializeAsString());
}

template <typename Message>
[[nodiscard]] absl::Status Parse(absl::string_view value, Message& message) {
  PS_ASSIGN_OR_RETURN(const absl::string_view bytes, Unversioned(value));
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::DataLossError("unreadable message");
  return absl::OkStatus();
}

template <typename Reply>
void Store::Commit(size_t bytes, std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done) {
  auto reply = std::make_shared<absl::StatusOr<Reply>>(absl::InternalError("not prepared"));
  Committer::Write write;
  write.bytes = bytes + kWriteOverhead;
  write.prepare = [reply, prepare = std::move(prepare)](rocksdb::WriteBatch& batch) { *reply = prepare(batch); };
  write.done = [reply, done = std::move(done)](const absl::Status& status) {
    done(status.ok() ? std::move(*reply) : absl::StatusOr<Reply>(status));
  };
  committer_->Enqueue(std::move(write));
}

template <typename Reply>
void Store::CheckAndCommit(size_t bytes, std::function<absl::Status()> check,
                           std::function<absl::StatusOr<Reply>(rocksdb::WriteBatch&)> prepare, Callback<Reply> done) {
  if (absl::Status status = health(); !status.ok()) return done(status);
  auto room = admission_.Reserve(bytes);
  if (!room) return done(TooMuchQueued());
  // Whoever hears of it finds the room free, however many copies of the callback there are.
  auto held = std::make_shared<std::shared_ptr<Admission::Room>>(std::move(room));
  Callback<Reply> release = [held, done](absl::StatusOr<Reply> reply) {
    held->reset();
    done(std::move(reply));
  };
  const bool posted = admit_.Post([this, bytes, check = std::move(check), prepare = std::move(prepare), release] {
    if (absl::Status status = check(); !status.ok()) return release(status);
    Commit<Reply>(bytes, prepare, release);
  });
  if (!posted) release(absl::UnavailableError("the store is busy or shutting down"));
}

}  // namespace promptsweep::store
