// Measures how fast embeddings are scanned.
#pragma once

#include <string>

namespace promptsweep::store {

// Prints, for vectors of 512 and 768 halves and as ratios to copying the same bytes out of the page cache: chunks, by one
// thread and by two side by side; the same as messages; staged rows; the same vectors as BlobDB values. Then what
// packing costs those who write meanwhile. Makes and removes about 1 GB in `folder`.
void BenchScan(const std::string& folder);

}  // namespace promptsweep::store
