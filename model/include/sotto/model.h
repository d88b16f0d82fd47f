/* Models: graph, compile to step programs, training loops, packages, data sets. No sockets, no
 * databases. */
#ifndef SOTTO_MODEL_H
#define SOTTO_MODEL_H

#include "sotto/base.h"
#include "sotto/kernels.h"
#include "sotto/model/data.h"
#include "sotto/model/graph.h"
#include "sotto/model/package.h"
#include "sotto/model/train.h"

#endif
