/*
 * What the files of the argument codec share: the tags, the writer, the reader.
 *
 *   args.c         scalars, strings, tuples, the order of things, encoding
 *   args_reader.c  decoding
 *   buffers.c      bytearray, array.array, memoryview
 *   ndarray.c      NumPy arrays and scalars      dtype.c  their dtypes
 *   pickling.c     everything else
 *
 * A writer gathers a body in two kinds of pieces: small things are put into
 * its head; large ones are segments, copied only once, by args_copy().
 */
#ifndef C4P_EXT_ARGS_INTERNAL_H
#define C4P_EXT_ARGS_INTERNAL_H

#include "python/ext/args.h"

#include <string.h>

#include "proto/envelope.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bodies are little-endian and so far only little-endian machines write them"
#endif

#if PY_VERSION_HEX < 0x030a0000 && !defined(Py_NewRef)
static inline PyObject *py_new_ref(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
/* A function beneath: arguments with side effects are evaluated once. */
#define Py_NewRef(object) py_new_ref((PyObject *)(object))
#endif

/* proto/args.md */
enum args_tag {
    TAG_NONE = 0x01,
    TAG_FALSE = 0x02,
    TAG_TRUE = 0x03,
    TAG_INT8 = 0x04,
    TAG_INT32 = 0x05,
    TAG_INT64 = 0x06,
    TAG_INT = 0x07,
    TAG_FLOAT = 0x08,
    TAG_COMPLEX = 0x09,
    TAG_STR8 = 0x0a,
    TAG_STR = 0x0b,
    TAG_BYTES8 = 0x0c,
    TAG_BYTES = 0x0d,
    TAG_TUPLE = 0x0e,
    TAG_KEYWORDS = 0x0f,
    TAG_PICKLED = 0x10, /* one of the objects in the pickle at the end of the body */
    TAG_PICKLE = 0x11,  /* a pickle of its own */
    TAG_BYTEARRAY = 0x20,
    TAG_ARRAY = 0x21,
    TAG_MEMORYVIEW = 0x22,
    TAG_NDARRAY = 0x23,
    TAG_NDARRAY_DTYPE = 0x24,
    TAG_SCALAR = 0x25,
};

enum {
    TUPLE_DEPTH = 32, /* deeper ones are pickled */
    TUPLE_ITEMS =
        4096,        /* in all levels together; more are pickled, which keeps shared parts shared */
    READ_DEPTH = 64, /* deeper ones are refused */
    SEGMENT_SIZE = 256, /* from here on not copied into the head */
    FORTRAN_ORDER = 0x01,
    READ_ONLY = 0x01,
};

/* What became of an object that was to be written. */
enum put {
    PUT_ERROR = -1,
    PUT_DONE = 0,
    PUT_INDIRECT = 1, /* nothing was written: there is no direct encoding, pickle it */
};

struct args_segment {
    size_t head; /* bytes of the head that go before it */
    size_t size;
    const void *data; /* NULL: the owner is an ndarray */
    PyObject *owner;  /* reference that keeps data alive and in its place */
    bool fortran;
};

/* An argument that is pickled together with the others at the end; borrowed from the caller. */
struct args_deferred {
    PyObject *object;
    Py_ssize_t position; /* counted from 0; -1: the dict of keywords */
};

struct args_writer {
    uint8_t *head; /* `room`, or allocated when that was too small */
    size_t head_size, head_capacity;
    size_t size; /* of the body so far: head and segments */
    struct args_segment *segments;
    size_t segment_count, segment_capacity;
    struct args_deferred *deferred;
    size_t deferred_count, deferred_capacity;
    unsigned depth; /* of tuples and hooks' objects being written */
    unsigned items; /* in the tuple being written, all levels together */
    uint8_t room[1024];
};

struct args_reader {
    const uint8_t *start, *at, *end;
    const struct args_pin *pin;
    unsigned depth;
};

/* Grow the head; for writer_extend(). */
int writer_grow(struct args_writer *writer, size_t size);

/* Room for `size` more bytes of the head, taken. NULL with MemoryError. */
static inline uint8_t *writer_extend(struct args_writer *writer, size_t size)
{
    uint8_t *room;

    if (writer->head_capacity - writer->head_size < size && writer_grow(writer, size) < 0)
        return NULL;
    room = writer->head + writer->head_size;
    writer->head_size += size;
    writer->size += size;
    return room;
}

/*
 * Append `size` bytes that `owner` holds: copied now if few, else by args_copy(). A NULL
 * `data`: owner is an ndarray of that many bytes. PUT_DONE or PUT_ERROR.
 */
enum put writer_put_data(struct args_writer *writer, PyObject *owner, const void *data, size_t size,
                         bool fortran);

/* Zeros up to the next place where a buffer of `size` bytes may start. */
enum put writer_align(struct args_writer *writer, size_t size);

/* Bytes of padding in front of a buffer of `size` bytes at `position` of a body. */
static inline size_t args_padding(size_t position, size_t size)
{
    if (size < ARGS_IN_PLACE)
        return 0;
    return -(C4P_ENVELOPE_SIZE + position) & (C4P_BUFFER_ALIGN - 1);
}

/* Set the ValueError of a malformed body; always NULL. */
void *reader_refuse(const char *reason);

static inline size_t reader_left(const struct args_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static inline const uint8_t *reader_take(struct args_reader *reader, size_t size)
{
    const uint8_t *bytes = reader->at;

    if (reader_left(reader) < size)
        return reader_refuse("it is cut short");
    reader->at += size;
    return bytes;
}

/* Take one fixed-size number of any type. */
#define READER_NUMBER(reader, variable)                                                            \
    (reader_left(reader) < sizeof(variable)                                                        \
         ? (reader_refuse("it is cut short"), false)                                               \
         : (memcpy(&(variable), (reader)->at, sizeof(variable)), (reader)->at += sizeof(variable), \
            true))

/* Take a buffer behind its padding. */
const uint8_t *reader_take_buffer(struct args_reader *reader, size_t size);

/* May a buffer taken from the body stay there? */
static inline bool reader_in_place(const struct args_reader *reader, const uint8_t *data,
                                   size_t size)
{
    return reader->pin && size >= ARGS_IN_PLACE && (uintptr_t)data % C4P_BUFFER_ALIGN == 0;
}

/* buffers.c */
enum put buffer_put(struct args_writer *writer, PyObject *object);
PyObject *buffer_read_bytearray(struct args_reader *reader);
PyObject *buffer_read_array(struct args_reader *reader);
PyObject *buffer_read_memoryview(struct args_reader *reader);
/* A buffer without a type, as pickle takes it: in place or a copy, writable. */
PyObject *buffer_read_plain(struct args_reader *reader, size_t size);

#endif
