/* The tables of docs/membership.md, from the simulator. */
#ifndef C4P_TESTS_SWIM_FIGURES_H
#define C4P_TESTS_SWIM_FIGURES_H

/* An exit code. */
int figures_print(void);

#endif
