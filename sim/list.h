/* Private to sim/: sotto-sim list. */
#ifndef SOTTO_SIM_LIST_H
#define SOTTO_SIM_LIST_H

#include "sotto/config.h"

int list_command(struct cli *cli);

#endif
