// Names of reference vectors from the file beside them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace promptsweep::motifs {

// The names of some rows of a .npy file of `total` rows: from the .csv (first column, quoted as in RFC 4180) or else .txt (lines)
// of the same name beside it; one record more than `total` means that the first is a header. "FILE row N" for a row without a
// name, and for all where the file has another number of records. Holds no more than the wanted names, each cut at 500 bytes.
[[nodiscard]] std::map<uint64_t, std::string> ReferenceNames(const std::string& npy, uint64_t total,
                                                             const std::set<uint64_t>& rows);

}  // namespace promptsweep::motifs
