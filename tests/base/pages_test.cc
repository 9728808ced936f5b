// Proves that a walk over pages sees every page once, in order, and ends where the server's pages go back or fail.
#include "base/pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <vector>

namespace promptsweep {
namespace {

struct Request {
  uint64_t begin() const { return from; }
  void set_begin(uint64_t begin) { from = begin; }
  uint64_t from = 0;
};
struct Page {
  uint64_t next() const { return after; }
  int row = 0;
  uint64_t after = 0;
};

// The rows seen, from a server whose page that begins at a key is its value.
absl::StatusOr<std::vector<int>> Walk(const std::map<uint64_t, Page>& pages, Request request = {}) {
  std::vector<int> rows;
  const auto fetch = [&](const Request& asked) -> absl::StatusOr<Page> {
    const auto page = pages.find(asked.begin());
    if (page == pages.end()) return absl::UnavailableError("no such page");
    return page->second;
  };
  PS_RETURN_IF_ERROR(ForEachPage(request, fetch, [&](const Page& page) { rows.push_back(page.row); }));
  return rows;
}

TEST(Pages, EveryPageOnceInOrder) {
  EXPECT_THAT(*Walk({{0, {10, 0}}}), testing::ElementsAre(10));
  const std::map<uint64_t, Page> pages = {{0, {10, 5}}, {5, {11, UINT64_MAX}}, {UINT64_MAX, {12, 0}}};
  EXPECT_THAT(*Walk(pages), testing::ElementsAre(10, 11, 12));
  EXPECT_THAT(*Walk(pages, {.from = 5}), testing::ElementsAre(11, 12));
}

TEST(Pages, PagesThatGoBackAreAnError) {
  EXPECT_EQ(Walk({{0, {10, 5}}, {5, {11, 5}}}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Walk({{0, {10, 5}}, {5, {11, 3}}, {3, {12, 5}}}).status().code(), absl::StatusCode::kInternal);
}

TEST(Pages, TheFirstFailureEndsTheWalk) { EXPECT_EQ(Walk({{0, {10, 5}}}).status().code(), absl::StatusCode::kUnavailable); }

}  // namespace
}  // namespace promptsweep
