#include "tests/sim/swim_figures.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/swim_world.h"

int figures_print(void)
{
    return 0;
}
