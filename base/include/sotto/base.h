/* The leaf room: what every other room needs. libc only. */
#ifndef SOTTO_BASE_H
#define SOTTO_BASE_H

#include "sotto/base/buf.h"
#include "sotto/base/clock.h"
#include "sotto/base/io.h"
#include "sotto/base/json.h"
#include "sotto/base/layout.h"
#include "sotto/base/log.h"
#include "sotto/base/mem.h"
#include "sotto/base/num.h"
#include "sotto/base/pool.h"
#include "sotto/base/rng.h"
#include "sotto/base/status.h"
#include "sotto/base/vec.h"

#endif
