// Reading a listing that its server cuts into pages: a request has `begin`, a reply has `next`, the begin of the page after it; 0
// ends the listing.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "base/status.h"

namespace promptsweep {

// Gives every page, in order, to `use(page)`. `fetch(request)` returns a StatusOr of one; its first error ends the walk. INTERNAL
// where the server's pages do not advance.
template <typename Request, typename Fetch, typename Use>
[[nodiscard]] absl::Status ForEachPage(Request request, Fetch fetch, Use use) {
  do {
    PS_ASSIGN_OR_RETURN(auto page, fetch(std::as_const(request)));
    if (page.next() != 0 && page.next() <= request.begin()) return absl::InternalError("the server's pages go back");
    request.set_begin(page.next());
    use(std::move(page));
  } while (request.begin() != 0);
  return absl::OkStatus();
}

}  // namespace promptsweep
