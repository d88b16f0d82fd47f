/* The cpu kernels for any processor: the compiler lowers the vectors to what the target has. */
#include "cpu/ops_tpl.h"
