// The concepts of each motif in a report.
#pragma once

#include <vector>

#include "jobs/motifs/mining/miner.h"
#include "jobs/motifs/sweep_data.h"
#include "jobs/motifs/vocabulary_data.h"
#include "promptsweep/v1/motifs.pb.h"

namespace promptsweep::motifs {

// Fills concepts and shows of report.motifs(i), which findings[i] became. Leaves them empty where the vocabulary has fewer than
// kFewestWords words or another dimension, or fewer than 20 runs show no motif, and those of a motif that words do not describe.
void AddConcepts(const std::vector<Finding>& findings, const SweepData& data, const Vocabulary& vocabulary,
                 v1::MotifReport& report);

}  // namespace promptsweep::motifs
