/* The coordinator: round engine, aggregation, server step, and the daemon around them. */
#ifndef SOTTO_COORDINATOR_H
#define SOTTO_COORDINATOR_H

#include "sotto/coordinator/advance.h"
#include "sotto/coordinator/aggregate.h"
#include "sotto/coordinator/daemon.h"
#include "sotto/coordinator/engine.h"
#include "sotto/coordinator/secure.h"
#include "sotto/coordinator/task.h"

#endif
