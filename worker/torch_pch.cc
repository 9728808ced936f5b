// Carries the precompiled header; see torch_pch.h.
#include "worker/torch_pch.h"
