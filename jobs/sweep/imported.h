// Rows that another system made. Their sweep's algebra only counts them (axis "row"); what each was asked stands in its own
// columns.
#pragma once

#include <google/protobuf/repeated_field.h>

#include "promptsweep/v1/sweep.pb.h"

namespace promptsweep::sweep {

// What an imported row was asked, as a cell: `placeholder` (its cell by the algebra) with the columns model, prompt and seed in
// their places and every further column as a setting, sorted by name. A prompt column holds a prompt, or text as in
// prompt_text.h, empty text being the empty blank. Without a prompt column the cell has no prompt; without a seed column its seed
// is its ordinal.
[[nodiscard]] v1::Cell ImportedCell(const v1::Cell& placeholder, const google::protobuf::RepeatedPtrField<v1::Setting>& columns);

}  // namespace promptsweep::sweep
