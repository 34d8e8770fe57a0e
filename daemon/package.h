/*
 * Where the Python package is that belongs to this daemon.
 */
#ifndef C4P_DAEMON_PACKAGE_H
#define C4P_DAEMON_PACKAGE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The directory to put into PYTHONPATH: python/ beside the directory of the
 * program when it runs from the tree, else the one it was built to be
 * installed with. False: none, leave PYTHONPATH alone.
 */
bool package_find(char *directory, size_t size);

#endif
