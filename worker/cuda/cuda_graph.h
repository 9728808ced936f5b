// The calls of libpromptsweep_cuda.so, which worker/tensors/device_graph.cc finds by name.
#pragma once

extern "C" {

// Runs `work(argument)` twice on a stream of its own, the first time to warm up, and records the second time. Null where CUDA
// refuses: then `failure` holds up to `size` bytes of why. What `work` throws is reported so, too.
void* promptsweep_graph_record(int device, void (*work)(void*), void* argument, char* failure, unsigned long size);
// Launches a recorded graph on the thread's current stream; false and `failure` as above.
bool promptsweep_graph_play(void* graph, char* failure, unsigned long size);
void promptsweep_graph_free(void* graph);
}
