/*
 * Pickling: what has no encoding of its own. Protocol 5 with out-of-band
 * buffers; pickle first, cloudpickle for what pickle cannot (functions and
 * classes that no module can be asked for). Both are imported when first needed.
 */
#ifndef C4P_EXT_PICKLING_H
#define C4P_EXT_PICKLING_H

#include "python/ext/args_internal.h"

/*
 * Append one pickle of all the objects: of the object itself if it is one, of a
 * tuple of them if there are several. PUT_DONE, or PUT_ERROR with an exception
 * that names the argument that could not be pickled.
 */
enum put pickling_put(struct args_writer *writer, const struct args_deferred *parts, size_t count);

/* Read such a pickle: new reference, or NULL with what unpickling raised. */
PyObject *pickling_read(struct args_reader *reader);

#endif
